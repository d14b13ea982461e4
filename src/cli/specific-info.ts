// Facts that only a format has, as text for people: a line each, what is nested indented below its name.

import { printable } from './tool.js'

const INDENT = '    '

/**
 * The text of what a driver says of its format: a heading, and a line for each fact. Facts are what they are, or stand under
 * `data` beside the `type` of the format, as management interfaces have them.
 */
export function specificInfoText(facts: Readonly<Record<string, unknown>>): string {
  const { type, data } = facts
  const named = typeof type === 'string' && typeof data === 'object' && data !== null
  const lines = specificInfoLines(named ? (data as Record<string, unknown>) : facts, 1)
  return ['Format specific information:', ...lines, ''].join('\n')
}

/** The lines of `facts`, without line feeds. `-` in names is shown as a space, items of lists as `[0]`, `[1]`, ... */
function specificInfoLines(facts: Readonly<Record<string, unknown>>, depth: number): string[] {
  return Object.entries(facts).flatMap(([name, value]) => linesOf(name.replaceAll('-', ' '), value, depth))
}

function linesOf(name: string, value: unknown, depth: number): string[] {
  const label = `${INDENT.repeat(depth)}${printable(name)}:`
  if (value === undefined || value === null) return []
  if (Array.isArray(value)) {
    return [label, ...value.flatMap((item: unknown, index) => linesOf(`[${index}]`, item, depth + 1))]
  }
  if (typeof value === 'object') return [label, ...specificInfoLines(value as Record<string, unknown>, depth + 1)]
  return [`${label} ${printable(String(value))}`]
}
