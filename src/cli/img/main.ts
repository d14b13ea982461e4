// blockgraph-img: creates, inspects, compares and converts disk images, with the command lines, output and exit codes of
// qemu-img 7.2. One command per file, loaded when it is used.

import { exitCodeOf, processTool } from '../process-tool.js'
import { type Tool, usageError } from '../tool.js'

/** A command: prints to `tool` and gives its exit code. Failures are {@link ToolError}s. */
export type ToolCommand = (tool: Tool, args: readonly string[]) => Promise<number>

const NAME = 'blockgraph-img'

const COMMANDS: Readonly<Record<string, () => Promise<ToolCommand>>> = {
  amend: async () => (await import('./amend.js')).amend,
  bench: async () => (await import('./bench.js')).bench,
  bitmap: async () => (await import('./bitmap.js')).bitmap,
  check: async () => (await import('./check.js')).check,
  commit: async () => (await import('./commit.js')).commit,
  compare: async () => (await import('./compare.js')).compare,
  convert: async () => (await import('./convert.js')).convert,
  create: async () => (await import('./create.js')).create,
  dd: async () => (await import('./dd.js')).dd,
  info: async () => (await import('./info.js')).info,
  map: async () => (await import('./map.js')).map,
  measure: async () => (await import('./measure.js')).measure,
  rebase: async () => (await import('./rebase.js')).rebase,
  resize: async () => (await import('./resize.js')).resize,
  snapshot: async () => (await import('./snapshot.js')).snapshot,
}

/** Runs the tool with `args` (command and its arguments) and gives the exit code. */
export function main(args: readonly string[], tool: Tool = processTool(NAME)): Promise<number> {
  return exitCodeOf(tool, () => run(tool, args))
}

async function run(tool: Tool, args: readonly string[]): Promise<number> {
  const [word] = args
  if (word === undefined) throw usageError(tool.name, 'Not enough arguments')
  if (word === '-h' || word === '--help') return printHelp(tool)
  if (word === '-V' || word === '--version') return printVersion(tool)
  if (word.startsWith('-')) throw usageError(tool.name, `unrecognized option '${word}'`)
  if (!Object.hasOwn(COMMANDS, word)) throw usageError(tool.name, `Command not found: ${word}`)
  const rest = args.slice(1)
  if (asksForHelp(rest)) return printHelp(tool)
  const command = await COMMANDS[word]?.()
  return command === undefined ? 1 : command(tool, rest)
}

function asksForHelp(args: readonly string[]): boolean {
  const end = args.indexOf('--')
  return (end < 0 ? args : args.slice(0, end)).some((arg) => arg === '-h' || arg === '--help')
}

async function printHelp(tool: Tool): Promise<number> {
  const { helpText } = await import('./help.js')
  tool.out(await helpText(tool.name))
  return 0
}

async function printVersion(tool: Tool): Promise<number> {
  const { versionText } = await import('../version.js')
  tool.out(versionText(tool.name))
  return 0
}
