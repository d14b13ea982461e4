// What a command of a tool sees of the process around it: where it prints, and how it fails. Tests hand in their own.

/** The streams of a running tool. */
export interface Tool {
  /** Name before every message on standard error. */
  readonly name: string
  /** Writes to standard output, as it is. */
  out(text: string): void
  /** Writes to standard error, as it is. */
  err(text: string): void
  /** Told before a command moves data, so many bytes at most. */
  expectWork?(bytes: number): void
}

/** Ends a command: the first line and every one that begins a message of its own is printed behind the tool's name. */
export class ToolError extends Error {
  readonly exitCode: number
  /** Lines without the tool's name, printed after the message. */
  readonly hints: readonly string[]

  constructor(message: string, exitCode = 1, hints: readonly string[] = []) {
    super(message)
    this.exitCode = exitCode
    this.hints = hints
  }
}

/** Refers to the help, after a mistake on the command line. */
export function usageError(tool: string, message: string): ToolError {
  return new ToolError(message, 1, [`Try '${tool} --help' for more information`])
}

/** Prints `error`: each line of its message behind the tool's name, its hints as they are. */
export function printError(tool: Tool, error: ToolError): void {
  for (const line of error.message.split('\n')) tool.err(`${tool.name}: ${printable(line)}\n`)
  for (const hint of error.hints) tool.err(`${printable(hint)}\n`)
}

/** Prints a warning: its first line behind the tool's name, the others as they are. */
export function printWarning(tool: Tool, message: string): void {
  const [first = '', ...others] = message.split('\n')
  tool.err(`${tool.name}: warning: ${printable(first)}\n`)
  for (const line of others) tool.err(`${printable(line)}\n`)
}

/** `text` with control characters escaped, so that a file name cannot drive a terminal. */
export function printable(text: string): string {
  let out = ''
  for (const char of text) {
    const point = char.codePointAt(0) ?? 0
    out += point < 0x20 || (point >= 0x7f && point < 0xa0) ? `\\x${point.toString(16).padStart(2, '0')}` : char
  }
  return out
}
