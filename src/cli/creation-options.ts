// The `-o` options of a new image: reading the list, listing what there is, and saying what was given.

import type { BlockGraph } from '../global-state/graph.js'
import { creationSchema } from '../global-state/life/create-image.js'
import type { OptionSchema } from '../global-state/options/option-schema.js'
import { parseOptionString } from '../global-state/options/option-text.js'
import type { FlatOptions, OptionScalar } from '../global-state/options/options.js'
import { registerDrivers } from './drivers.js'
import { printable, type Tool, ToolError } from './tool.js'

const TYPES: Readonly<Record<string, string>> = { size: 'size', flag: 'bool (on/off)', integer: 'num' }

/** Joins the values of all `-o`. A list that begins or ends with a comma, or is empty, is refused. */
export function joinOptionLists(lists: readonly string[] | undefined): string | undefined {
  for (const list of lists ?? []) {
    if (list === '' || /^,|(^|[^,]),(,,)*$/.test(list)) throw new ToolError(`Invalid option list: ${list}`)
  }
  return lists?.join(',')
}

/** Whether a list asks for help instead of giving options. */
export function asksForOptions(list: string | undefined): boolean {
  return (list ?? '').split(',').some((item) => item === 'help' || item === '?')
}

/** The options of a list. */
export function creationOptions(list: string | undefined): FlatOptions {
  return list === undefined ? {} : parseOptionString(list)
}

/** Prints the creation options of a format, and of the protocol of `filename` where one is given. */
export async function printCreationOptions(
  tool: Tool,
  graph: BlockGraph,
  format: string,
  filename?: string,
): Promise<void> {
  await registerDrivers(graph, undefined)
  const { schema } = creationSchema(graph, format, filename)
  tool.out(filename === undefined ? `Supported ${format} options:\n` : 'Supported options:\n')
  printOptions(tool, schema)
  if (filename !== undefined) return
  tool.out('\nThe protocol level may support further options.\nSpecify the target filename to include those options.\n')
}

/** Prints a line for each option, by name. */
export function printOptions(tool: Tool, schema: OptionSchema): void {
  for (const name of Object.keys(schema).sort()) {
    const field = schema[name]
    if (field === undefined) continue
    const left = `  ${name}=<${TYPES[field.type] ?? 'str'}>`
    tool.out(`${left.padEnd(24)} - ${field.description ?? ''}\n`)
  }
}

/** What an image is made with, as `name=value` with a space between. */
export function describeCreation(options: FlatOptions): string {
  return Object.entries(options)
    .map(([name, value]) => `${name}=${printable(wordOf(value))}`)
    .join(' ')
}

function wordOf(value: OptionScalar): string {
  if (typeof value === 'boolean') return value ? 'on' : 'off'
  return typeof value === 'number' ? BigInt(value).toString() : String(value)
}
