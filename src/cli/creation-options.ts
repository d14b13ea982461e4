// The `-o` options of a new image: reading the list, listing what there is, and saying what was given.

import type { BlockGraph } from '../global-state/graph.js'
import { creationSchema } from '../global-state/life/create-image.js'
import { parseOptionString } from '../global-state/options/option-text.js'
import type { FlatOptions } from '../global-state/options/options.js'
import { registerDrivers } from './drivers.js'
import { printable, type Tool, ToolError } from './tool.js'

/** The order in which options are told; those not named here follow as they were given. */
const ORDER = ['size', 'nocow', 'preallocation', 'extent_size_hint']

const HELP: Readonly<Record<string, string>> = {
  size: 'Virtual disk size',
  preallocation: 'Preallocation mode (allowed values: off, falloc, full)',
  nocow: 'Turn off copy-on-write (valid only on btrfs)',
  extent_size_hint: 'Extent size hint for the image file, 0 to disable',
}

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
  for (const name of Object.keys(schema).sort()) {
    const field = schema[name]
    if (field === undefined) continue
    const left = `  ${name}=<${TYPES[field.type] ?? 'str'}>`
    tool.out(`${left.padEnd(24)} - ${HELP[name] ?? field.description ?? ''}\n`)
  }
  if (filename !== undefined) return
  tool.out('\nThe protocol level may support further options.\nSpecify the target filename to include those options.\n')
}

/** What was given, as `name=value` with a space between. */
export function describeCreation(options: FlatOptions): string {
  const names = Object.keys(options).sort((a, b) => rank(a) - rank(b))
  return names.map((name) => `${name}=${printable(wordOf(options[name]))}`).join(' ')
}

function rank(name: string): number {
  const at = ORDER.indexOf(name)
  return at < 0 ? ORDER.length : at
}

function wordOf(value: FlatOptions[string] | undefined): string {
  if (typeof value === 'boolean') return value ? 'on' : 'off'
  return typeof value === 'number' ? BigInt(value).toString() : String(value)
}
