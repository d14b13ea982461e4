// Options as dotted keys ("file.filename") with plain values, and as nested objects. Options come from users and from
// `json:` names, so depth, count and text are bounded, and a key is never a name of Object's prototype.

import { BlockError, quoteOutside } from '../../common/error.js'

/** The value of one option. `null` under a child's name means that there is no such child. */
export type OptionScalar = string | number | boolean | null

/** Options by dotted key; list items are numbered from 0. */
export type FlatOptions = { readonly [key: string]: OptionScalar }

/** Levels of nesting, options, and characters of all keys that options may have. */
export const MAX_OPTION_DEPTH = 2048
export const MAX_OPTION_COUNT = 65536
export const MAX_OPTION_TEXT = 16 * 1024 * 1024

/**
 * Dotted keys of nested options. Keys given may be dotted already; `undefined` is as good as left out. EINVAL for a value
 * that is no scalar, list or plain object, for a key given twice, and beyond the bounds.
 */
export function flattenOptions(nested: Record<string, unknown>): FlatOptions {
  const flat: Record<string, OptionScalar> = {}
  const pending: { key: string; value: unknown; depth: number }[] = []
  let text = 0
  let count = 0
  const push = (prefix: string, depth: number, value: object) => {
    for (const [name, inner] of Object.entries(value).reverse())
      pending.push({ key: prefix + name, value: inner, depth })
  }
  push('', 1, nested)
  for (let next = pending.pop(); next !== undefined; next = pending.pop()) {
    const { key, value, depth } = next
    if (value === undefined) continue
    count += 1
    text += key.length
    if (depth > MAX_OPTION_DEPTH || count + pending.length > MAX_OPTION_COUNT || text > MAX_OPTION_TEXT) {
      throw invalid('the options are nested too deeply or are too many')
    }
    if (isScalar(value)) put(flat, key, value)
    else if (isContainer(value)) push(`${key}.`, depth + 1, value)
    else throw invalid(`option ${quoteOutside(key)} is neither text, number, flag, null, list nor object`)
  }
  return flat
}

/** Nested options of dotted keys; what is numbered 0, 1, ... becomes a list. EINVAL where `a` and `a.b` are both given. */
export function nestOptions(flat: FlatOptions): Record<string, unknown> {
  const root: Nest = new Map()
  for (const [key, value] of Object.entries(flat)) {
    const path = key.split('.')
    const last = path.pop() ?? ''
    let at = root
    for (const part of path) {
      const inner = at.get(part) ?? new Map()
      if (!(inner instanceof Map)) throw contradiction(key)
      at.set(part, inner)
      at = inner
    }
    if (at.has(last)) throw contradiction(key)
    at.set(last, value)
  }
  return objectOf(root)
}

/** What {@link splitChild} finds under a child's name. */
export interface ChildOptions {
  /** The options without those of the child. */
  own: FlatOptions
  /** The child's options, the child's name taken off; empty where there are none. */
  child: FlatOptions
  /** A string names a node, null says there is no child, undefined says nothing. */
  reference?: string | null
}

/** Takes the options of one child out of its parent's. EINVAL for a reference together with options. */
export function splitChild(flat: FlatOptions, childName: string): ChildOptions {
  const own: Record<string, OptionScalar> = {}
  const child: Record<string, OptionScalar> = {}
  const prefix = `${childName}.`
  for (const [key, value] of Object.entries(flat)) {
    if (key.startsWith(prefix)) child[key.slice(prefix.length)] = value
    else if (key !== childName) own[key] = value
  }
  const reference = Object.hasOwn(flat, childName) ? flat[childName] : undefined
  if (reference === undefined) return { own, child }
  if (reference !== null && typeof reference !== 'string') {
    throw invalid(`option ${quoteOutside(childName)} takes a node name, options or null, not ${String(reference)}`)
  }
  if (Object.keys(child).length > 0) throw contradiction(childName)
  return { own, child, reference }
}

/** Whether options say anything of a child: options for it or a node's name (`given`), `null` (`none`), or nothing. */
export function mentionsChild(flat: FlatOptions, childName: string): 'given' | 'none' | 'absent' {
  if (Object.hasOwn(flat, childName)) return flat[childName] === null ? 'none' : 'given'
  const prefix = `${childName}.`
  for (const key in flat) if (key.startsWith(prefix)) return 'given'
  return 'absent'
}

function put(flat: Record<string, OptionScalar>, key: string, value: OptionScalar): void {
  checkKey(key)
  if (Object.hasOwn(flat, key)) throw invalid(`option ${quoteOutside(key)} is given twice`)
  flat[key] = value
}

/** EINVAL for a key with an empty part or one that means something to every object. */
export function checkKey(key: string): void {
  for (const part of key.split('.')) {
    if (part === '' || part === '__proto__') throw invalid(`${quoteOutside(key)} is no option name`)
  }
}

type Nest = Map<string, OptionScalar | Nest>

/** Builds from the leaves up, without recursion: keys may be thousands of parts long. */
function objectOf(root: Nest): Record<string, unknown> {
  const order: { nest: Nest; holder: Nest | undefined; name: string }[] = [{ nest: root, holder: undefined, name: '' }]
  for (const { nest } of order) {
    for (const [name, inner] of nest) if (inner instanceof Map) order.push({ nest: inner, holder: nest, name })
  }
  const made = new Map<Nest, unknown>()
  for (const { nest } of order.reverse()) {
    const entries = [...nest].map(([name, value]): [string, unknown] => [
      name,
      value instanceof Map ? made.get(value) : value,
    ])
    const list = nest !== root && entries.length > 0 && entries.every((_, index) => nest.has(String(index)))
    made.set(nest, list ? listOf(entries) : Object.fromEntries(entries))
  }
  return made.get(root) as Record<string, unknown>
}

function listOf(entries: [string, unknown][]): unknown[] {
  const list: unknown[] = new Array(entries.length)
  for (const [name, value] of entries) list[Number(name)] = value
  return list
}

function isScalar(value: unknown): value is OptionScalar {
  return value === null || typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean'
}

function isContainer(value: unknown): value is object {
  if (typeof value !== 'object' || value === null) return false
  if (Array.isArray(value)) return true
  const prototype: unknown = Object.getPrototypeOf(value)
  return prototype === null || prototype === Object.prototype
}

function contradiction(key: string): BlockError {
  return invalid(`option ${quoteOutside(key)} is given both as a value and with options below it`)
}

function invalid(message: string): BlockError {
  return new BlockError('EINVAL', message, { op: 'options' })
}
