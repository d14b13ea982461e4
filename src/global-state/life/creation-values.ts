// Values of creation options as a person writes them: flags, sizes and numbers are read, words are left to the driver that
// knows them.

import { BlockError, quoteOutside } from '../../common/error.js'
import type { OptionField, OptionSchema } from '../options/option-schema.js'
import type { FlatOptions, OptionScalar } from '../options/options.js'
import { parseSize } from '../options/size-text.js'

/** Reads what was given. EINVAL for an option that `schema` does not know, and for what is no flag, size or number. */
export function readCreationValues(schema: OptionSchema, given: FlatOptions): FlatOptions {
  const read: Record<string, OptionScalar> = {}
  for (const [name, value] of Object.entries(given)) {
    const field = Object.hasOwn(schema, name) ? schema[name] : undefined
    if (field === undefined) throw refusal(`Invalid parameter ${quoteOutside(name)}`)
    read[name] = readValue(name, field, value)
  }
  return read
}

function readValue(name: string, field: OptionField<unknown>, value: OptionScalar): OptionScalar {
  switch (field.type) {
    case 'size':
      return readSize(name, value)
    case 'flag':
      return readFlag(name, value)
    case 'integer':
      return readNumber(name, value)
    default:
      return value
  }
}

/** Sizes beyond the cap pass: what is too large for the format is its to say. */
function readSize(name: string, value: OptionScalar): number {
  const size = typeof value === 'string' ? parseSize(value) : value
  if (typeof size === 'number' && size >= 0 && Number.isInteger(size) && size < 2 ** 64) return size
  throw new BlockError('EINVAL', `Parameter '${name}' expects a non-negative number below 2^64`, {
    op: 'create',
    hint: 'Optional suffix k, M, G, T, P or E means kilo-, mega-, giga-, tera-, peta-\nand exabytes, respectively.',
  })
}

function readFlag(name: string, value: OptionScalar): boolean {
  if (typeof value === 'boolean') return value
  if (value === 'on' || value === 'off') return value === 'on'
  throw refusal(`Parameter '${name}' expects 'on' or 'off'`)
}

function readNumber(name: string, value: OptionScalar): number {
  const number = typeof value === 'string' && /^(\d{1,20}|0x[0-9a-f]{1,16})$/i.test(value) ? Number(value) : value
  if (typeof number === 'number' && Number.isSafeInteger(number) && number >= 0) return number
  throw refusal(`Parameter '${name}' expects a number`)
}

function refusal(message: string): BlockError {
  return new BlockError('EINVAL', message, { op: 'create' })
}
