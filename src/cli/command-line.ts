// Command lines of the tools, read by commander and judged in the words of getopt: options may be abbreviated, clustered
// and mixed with operands.

import { Command, CommanderError, Option } from 'commander'
import { type Tool, ToolError, usageError } from './tool.js'

/** What a command line says. */
export interface CommandLine<T> {
  options: T
  operands: string[]
}

/** A new command without options. */
export function newCommand(name: string): Command {
  return new Command(name)
    .helpOption(false)
    .exitOverride()
    .showSuggestionAfterError(false)
    .configureOutput({ writeErr: () => {}, writeOut: () => {} })
    .argument('[operands...]')
    .addOption(new Option('-h, --help'))
}

/** Reads `args`. Throws a {@link ToolError} for unknown options, missing arguments, and what an option's parser refuses. */
export function parseCommandLine<T>(tool: Tool, command: Command, args: readonly string[]): CommandLine<T> {
  try {
    command.parse(expandAbbreviations(tool, command, args), { from: 'user' })
  } catch (thrown) {
    if (thrown instanceof ToolError) throw thrown
    if (thrown instanceof CommanderError) throw wordsOf(tool, thrown, args)
    throw thrown
  }
  return { options: command.opts() as T, operands: command.args }
}

/** An option that may be given more than once; its value is the list of what was given. */
export function repeatedOption(flags: string): Option {
  return new Option(flags).argParser((value: string, before: string[] | undefined) => [...(before ?? []), value])
}

function wordsOf(tool: Tool, error: CommanderError, args: readonly string[]): ToolError {
  if (error.code === 'commander.optionMissingArgument') {
    return usageError(tool.name, `missing argument for option '${args.at(-1) ?? ''}'`)
  }
  const option = /'([^']*)'/.exec(error.message)?.[1]
  if (error.code === 'commander.unknownOption') return usageError(tool.name, `unrecognized option '${option ?? ''}'`)
  return usageError(tool.name, error.message.replace(/^error: /, ''))
}

/** Writes abbreviated long options out. The argument of an option is left alone. */
function expandAbbreviations(tool: Tool, command: Command, args: readonly string[]): string[] {
  const expanded: string[] = []
  let ended = false
  let value = false
  for (const arg of args) {
    ended ||= !value && arg === '--'
    const written: string = ended || value || !arg.startsWith('--') ? arg : expandLong(tool, command, arg)
    expanded.push(written)
    value = !value && !ended && takesNext(command, written)
  }
  return expanded
}

function expandLong(tool: Tool, command: Command, arg: string): string {
  const equals = arg.indexOf('=')
  const name = equals < 0 ? arg : arg.slice(0, equals)
  const longs = command.options.flatMap((option) => (option.long == null ? [] : [option.long]))
  if (longs.includes(name)) return arg
  const candidates = longs.filter((long) => long.startsWith(name))
  if (candidates.length > 1) throw usageError(tool.name, `unrecognized option '${arg}'`)
  return (candidates[0] ?? name) + (equals < 0 ? '' : arg.slice(equals))
}

/** Whether the word after `arg` is its argument: `-f`, `-qf`, `--format`, but neither `-fraw` nor `--format=raw`. */
function takesNext(command: Command, arg: string): boolean {
  if (arg.startsWith('--')) return command.options.some((option) => option.long === arg && option.required)
  if (!arg.startsWith('-')) return false
  for (let at = 1; at < arg.length; at++) {
    const option = command.options.find((each) => each.short === `-${arg[at]}`)
    if (option === undefined) return false
    if (option.required) return at === arg.length - 1
  }
  return false
}
