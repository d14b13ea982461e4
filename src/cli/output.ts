// Text to standard output or standard error, straight to the descriptor: setting up Node's stream takes longer than a small answer.
// The stream takes over where the descriptor does not take a text at once.

import { writeSync } from 'node:fs'

/** Writes a text, all of it or what the reader still takes. */
export type Output = (text: string) => void

/** What an output is made of. */
export interface OutputParts {
  /** Writes some of the bytes and gives how many; throws as `writeSync` does. */
  write(bytes: Uint8Array): number
  /** The stream of the same descriptor. */
  stream(): NodeJS.WritableStream
}

/** The output of this process. */
export function processOutput(fd: 1 | 2): Output {
  return outputOf({
    write: (bytes) => writeSync(fd, bytes),
    stream: () => (fd === 1 ? process.stdout : process.stderr),
  })
}

/** An output made of `parts`. */
export function outputOf(parts: OutputParts): Output {
  let stream: NodeJS.WritableStream | undefined
  return (text) => {
    const rest = stream === undefined ? writeAtOnce(parts, new TextEncoder().encode(text)) : text
    if (rest === undefined) return
    stream ??= quietStream(parts)
    stream.write(rest)
  }
}

/** Writes what can be written; what is left where the descriptor would have to be waited for. */
function writeAtOnce(parts: OutputParts, bytes: Uint8Array): Uint8Array | undefined {
  let rest = bytes
  try {
    while (rest.byteLength > 0) rest = rest.subarray(parts.write(rest))
    return undefined
  } catch (thrown) {
    // Whoever reads may stop reading (a pipe into head): the command goes on to its end, and a copy is whole.
    return (thrown as NodeJS.ErrnoException).code === 'EAGAIN' ? rest : undefined
  }
}

function quietStream(parts: OutputParts): NodeJS.WritableStream {
  return parts.stream().on('error', () => {})
}
