// Schemas of options: what a driver or a tool accepts, how a value is read from JSON or from a command line's string, and
// what a person is told. A schema is data; reading it never opens anything.

import { BlockError, quoteOutside } from '../../common/error.js'
import { MAX_LENGTH } from '../../common/limits.js'
import type { FlatOptions } from './options.js'
import { nestOptions } from './options.js'
import { parseSize } from './size-text.js'

/** How one option is read. `T` is its value after reading; undefined where it may be left out. */
export interface OptionField<T> {
  readonly type: string
  /** For help output. */
  readonly description?: string
  readonly default?: T
  readonly required: boolean
  /** Takes all options under `<name>.` as one nested value. */
  readonly structured?: boolean
  /** Reads a value given as JSON or as a string; throws a plain Error whose message says what was expected. */
  read(raw: unknown): T
}

/** Options by name; keys are as the field writes them (`read-zeroes`, `cache.direct`). */
export type OptionSchema = { readonly [name: string]: OptionField<unknown> }

/** The values a schema yields. */
export type OptionValues<S extends OptionSchema> = {
  readonly [K in keyof S]: S[K] extends OptionField<infer T> ? T : never
}

/** What every field maker takes. */
export interface FieldOptions<T> {
  default?: T
  /** Leaving it out is an error. */
  required?: boolean
  description?: string
}

/** The value of a field: never undefined where there is a default or the option is required. */
export type FieldValue<T, O> = O extends { default: T } | { required: true } ? T : T | undefined

type NoOptions = Record<never, never>

/** A string. */
export function stringOption<O extends FieldOptions<string> = NoOptions>(
  options?: O,
): OptionField<FieldValue<string, O>> {
  return field<string, O>('string', options, (raw) => {
    if (typeof raw !== 'string') throw new Error('a string')
    return raw
  })
}

/** A boolean: true and false, or the words on, off, yes, no, true, false. */
export function flagOption<O extends FieldOptions<boolean> = NoOptions>(
  options?: O,
): OptionField<FieldValue<boolean, O>> {
  return field<boolean, O>('flag', options, (raw) => {
    if (typeof raw === 'boolean') return raw
    if (raw === 'on' || raw === 'yes' || raw === 'true') return true
    if (raw === 'off' || raw === 'no' || raw === 'false') return false
    throw new Error("'on' or 'off'")
  })
}

/** A size in bytes: a number, or a string that may end in b, k, M, G, T, P or E (powers of 1024) and have a fraction. */
export function sizeOption<O extends FieldOptions<number> = NoOptions>(
  options?: O,
): OptionField<FieldValue<number, O>> {
  return field<number, O>('size', options, (raw) => {
    const size = typeof raw === 'string' ? parseSize(raw) : raw
    if (typeof size !== 'number' || Number.isNaN(size) || size < 0)
      throw new Error('a size such as 1048576, 64k or 1.5G')
    if (size > MAX_LENGTH) throw new Error(`a size of at most ${MAX_LENGTH} bytes`)
    if (!Number.isInteger(size)) throw new Error('a whole number of bytes')
    return size
  })
}

/** A whole number, by default any safe one from 0 on; strings may be decimal or 0x and hexadecimal. */
export function integerOption<O extends FieldOptions<number> & { min?: number; max?: number } = NoOptions>(
  options?: O,
): OptionField<FieldValue<number, O>> {
  const min = options?.min ?? 0
  const max = options?.max ?? Number.MAX_SAFE_INTEGER
  return field<number, O>('integer', options, (raw) => {
    const text = typeof raw === 'string' && /^(-?\d{1,17}|0x[0-9a-f]{1,14})$/i.test(raw)
    const value = text ? Number(raw) : raw
    if (typeof value !== 'number' || !Number.isSafeInteger(value)) throw new Error('a whole number')
    if (value < min || value > max) throw new Error(`a whole number from ${min} to ${max}`)
    return value
  })
}

/** One of `values`. */
export function enumOption<const V extends string, O extends FieldOptions<NoInfer<V>> = NoOptions>(
  values: readonly V[],
  options?: O,
): OptionField<FieldValue<V, O>> {
  return field<V, O>(values.join('|'), options, (raw) => {
    const found = values.find((value) => value === raw)
    if (found === undefined) throw new Error(`one of ${values.join(', ')}`)
    return found
  })
}

/** A list, given as an array or as `name.0`, `name.1`, ...; every item is read by `item`. */
export function listOption<T, O extends FieldOptions<readonly NoInfer<T>[]> = NoOptions>(
  item: OptionField<T>,
  options?: O,
): OptionField<FieldValue<readonly T[], O>> {
  const made = field<readonly T[], O>(`list of ${item.type}`, options, (raw) => {
    if (!Array.isArray(raw)) throw new Error('a list, its items numbered from 0')
    return raw.map((each: unknown) => item.read(each))
  })
  return { ...made, structured: true }
}

/** A group of options under `<name>.`, read by a schema of its own. */
export function groupOption<S extends OptionSchema, O extends FieldOptions<OptionValues<NoInfer<S>>> = NoOptions>(
  schema: S,
  options?: O,
): OptionField<FieldValue<OptionValues<S>, O>> {
  const made = field<OptionValues<S>, O>('group', options, (raw) => {
    if (typeof raw !== 'object' || raw === null || Array.isArray(raw)) throw new Error('a group of options')
    const given = raw as Record<string, unknown>
    const values: Record<string, unknown> = {}
    for (const [name, inner] of Object.entries(schema)) values[name] = readField(name, inner, given[name])
    const unknown = Object.keys(given).find((name) => !Object.hasOwn(schema, name))
    if (unknown !== undefined) throw new Error(`no option ${quoteOutside(unknown)}`)
    return values as OptionValues<S>
  })
  return { ...made, structured: true }
}

/** Whose options are read, for messages. */
export interface OptionOwner {
  driver: string
  node?: string | undefined
}

/**
 * Reads what `schema` names out of `flat`; `rest` is what it does not name. EINVAL, naming driver and option, for a value
 * that cannot be read and for a required option that is missing.
 */
export function readOptions<S extends OptionSchema>(
  schema: S,
  flat: FlatOptions,
  where: OptionOwner,
): { values: OptionValues<S>; rest: FlatOptions } {
  const rest: Record<string, FlatOptions[string]> = { ...flat }
  const values: Record<string, unknown> = {}
  for (const [name, option] of Object.entries(schema)) {
    try {
      values[name] = readField(name, option, take(rest, name, option))
    } catch (error) {
      if (error instanceof BlockError) throw error
      const said = error instanceof Error ? error.message : String(error)
      throw new BlockError('EINVAL', `driver '${where.driver}': ${said}`, { node: where.node, op: 'open' })
    }
  }
  return { values: values as OptionValues<S>, rest }
}

/** EINVAL, naming driver and option, where anything is left over. */
export function refuseLeftOver(rest: FlatOptions, where: OptionOwner): void {
  const name = Object.keys(rest)[0]
  if (name === undefined) return
  throw new BlockError('EINVAL', `driver '${where.driver}' has no option ${quoteOutside(name)}`, {
    node: where.node,
    op: 'open',
  })
}

function field<T, O extends FieldOptions<T>>(
  type: string,
  options: O | undefined,
  read: (raw: unknown) => T,
): OptionField<FieldValue<T, O>> {
  const made: OptionField<T> = {
    type,
    required: options?.required === true,
    read,
    ...(options?.description === undefined ? {} : { description: options.description }),
    ...(options?.default === undefined ? {} : { default: options.default }),
  }
  return made as OptionField<FieldValue<T, O>>
}

/** Takes the value of one option out of `rest`; a structured one is everything under its name. */
function take(rest: Record<string, FlatOptions[string]>, name: string, option: OptionField<unknown>): unknown {
  const single = Object.hasOwn(rest, name) ? rest[name] : undefined
  delete rest[name]
  if (option.structured !== true) return single
  const under: Record<string, FlatOptions[string]> = {}
  for (const [key, value] of Object.entries(rest)) {
    if (!key.startsWith(`${name}.`)) continue
    under[key] = value
    delete rest[key]
  }
  return Object.keys(under).length === 0 ? single : nestOptions(under)[name]
}

function readField(name: string, option: OptionField<unknown>, raw: unknown): unknown {
  if (raw === undefined) {
    if (option.required) throw new Error(`option '${name}' is missing`)
    return option.default
  }
  try {
    return option.read(raw)
  } catch (error) {
    const said = error instanceof Error ? error.message : String(error)
    const given = typeof raw === 'string' ? quoteOutside(raw) : Array.isArray(raw) ? 'a list' : String(raw)
    // The message of an inner option already says which one and what it was given.
    throw new Error(
      said.startsWith('option ') ? `option '${name}': ${said}` : `option '${name}' takes ${said}, not ${given}`,
    )
  }
}
