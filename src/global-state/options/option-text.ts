// Options as one text: `json:{...}` file names, and the comma lists of command lines ("driver=raw,file.filename=a").

import { BlockError, quoteOutside } from '../../common/error.js'
import { checkKey, type FlatOptions, flattenOptions, nestOptions, type OptionScalar } from './options.js'

/** Characters a `json:` name may have, and levels of nesting inside. */
export const MAX_JSON_NAME = 1024 * 1024
const MAX_JSON_DEPTH = 512

/** Whether a file name is options in JSON. */
export function isJsonFilename(filename: string): boolean {
  return filename.startsWith('json:')
}

/** The options a `json:` name stands for. EINVAL where it is malformed, too long or too deep. */
export function parseJsonFilename(filename: string): FlatOptions {
  if (!isJsonFilename(filename)) throw invalid(`${quoteOutside(filename)} does not begin with 'json:'`)
  const text = filename.slice('json:'.length)
  if (text.length > MAX_JSON_NAME || depthOf(text) > MAX_JSON_DEPTH)
    throw invalid('a json: name is too long or too deep')
  let parsed: unknown
  try {
    parsed = JSON.parse(text)
  } catch {
    throw invalid(`${quoteOutside(filename)} holds no valid JSON`)
  }
  if (typeof parsed !== 'object' || parsed === null || Array.isArray(parsed)) {
    throw invalid(`${quoteOutside(filename)} holds no JSON object`)
  }
  return flattenOptions(parsed as Record<string, unknown>)
}

/** Options as a `json:` name. */
export function formatJsonFilename(flat: FlatOptions): string {
  return `json:${JSON.stringify(nestOptions(flat))}`
}

/**
 * Options of a comma list. `,,` stands for a comma in a value; a name without `=` is a flag that is on, except that the
 * first one is the value of `impliedKey` where that is given. The last of several values wins. EINVAL for an empty name.
 */
export function parseOptionString(text: string, impliedKey?: string): FlatOptions {
  const flat: Record<string, OptionScalar> = {}
  let first = true
  for (const item of splitItems(text)) {
    const equals = item.indexOf('=')
    if (first && equals < 0 && impliedKey !== undefined) {
      flat[impliedKey] = item
    } else {
      const key = equals < 0 ? item : item.slice(0, equals)
      checkKey(key)
      flat[key] = equals < 0 ? 'on' : item.slice(equals + 1)
    }
    first = false
  }
  return flat
}

/** Options as a comma list that {@link parseOptionString} reads. EINVAL for null and for a name with `,` or `=`. */
export function formatOptionString(flat: FlatOptions): string {
  return Object.entries(flat)
    .map(([key, value]) => {
      if (value === null || /[,=]/.test(key)) throw invalid(`option ${quoteOutside(key)} cannot be written in a list`)
      const said = typeof value === 'boolean' ? (value ? 'on' : 'off') : String(value)
      return `${key}=${said.replaceAll(',', ',,')}`
    })
    .join(',')
}

/** The items between single commas, doubled ones made single. One comma may follow the last item. */
function splitItems(text: string): string[] {
  const items: string[] = []
  let item = ''
  for (let at = 0; at < text.length; at++) {
    const char = text[at]
    if (char !== ',') item += char
    else if (text[at + 1] === ',') {
      item += ','
      at += 1
    } else {
      items.push(item)
      item = ''
    }
  }
  if (item !== '') items.push(item)
  return items
}

/** Levels of braces and brackets outside of strings. */
function depthOf(text: string): number {
  let depth = 0
  let deepest = 0
  let quoted = false
  for (let at = 0; at < text.length; at++) {
    const char = text[at]
    if (quoted) {
      if (char === '\\') at += 1
      else if (char === '"') quoted = false
    } else if (char === '"') quoted = true
    else if (char === '{' || char === '[') {
      depth += 1
      deepest = Math.max(deepest, depth)
    } else if (char === '}' || char === ']') depth -= 1
  }
  return deepest
}

function invalid(message: string): BlockError {
  return new BlockError('EINVAL', message, { op: 'options' })
}
