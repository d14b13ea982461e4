// Damage that has a shape: numbers that are too large, off by one or point at other structures, bits that flip, files that end
// early. What was done is kept as text, so that a failure can be told.

import type { RandomBelow } from '../../../src/testing/crash/seeded-random.js'
import type { Field } from './fields.js'

/** A damaged image, and how it was made. */
export interface Mutant {
  bytes: Uint8Array
  done: string[]
}

const EXTREMES = [
  0n,
  1n,
  0x7fn,
  0x1ffn,
  0x7fff_ffffn,
  0xffff_ffffn,
  0x7fff_ffff_ffff_ffffn,
  0xffff_ffff_ffff_ffffn,
  0x8000_0000_0000_0000n,
  0x1f_ffff_ffff_ffffn,
  0x20_0000_0000_0000n,
  0x00ff_ffff_ffff_fe00n,
  0xffff_ffff_ffff_0000n,
]

/** One to four changes to a copy of `image`, whose fields are `fields`. */
export function mutate(image: Uint8Array, fields: readonly Field[], random: RandomBelow): Mutant {
  const mutant: Mutant = { bytes: image.slice(), done: [] }
  const count = 1 + random(random(3) === 0 ? 4 : 2)
  for (let i = 0; i < count; i++) change(mutant, fields, random)
  return mutant
}

function change(mutant: Mutant, fields: readonly Field[], random: RandomBelow): void {
  switch (random(12)) {
    case 0: {
      const length = random(mutant.bytes.byteLength + 1)
      mutant.done.push(`cut to ${length} bytes`)
      mutant.bytes = mutant.bytes.slice(0, length)
      return
    }
    case 1: {
      const at = random(mutant.bytes.byteLength)
      const bit = random(8)
      mutant.done.push(`bit ${bit} of byte ${at}`)
      mutant.bytes[at] = (mutant.bytes[at] ?? 0) ^ (1 << bit)
      return
    }
    case 2: {
      // A piece of the image where another one stood.
      const bytes = 8 * (1 + random(64))
      const [from, to] = [random(mutant.bytes.byteLength), random(mutant.bytes.byteLength)]
      mutant.done.push(`${bytes} bytes from ${from} to ${to}`)
      mutant.bytes.copyWithin(to, from, from + bytes)
      return
    }
    default:
      changeField(mutant, fields, random)
  }
}

function changeField(mutant: Mutant, fields: readonly Field[], random: RandomBelow): void {
  const field = fields[random(fields.length)]
  if (field === undefined || field.at + field.width > mutant.bytes.byteLength) return
  const before = readField(mutant.bytes, field)
  const value = BigInt.asUintN(field.width * 8, newValue(mutant.bytes, field, before, fields, random))
  mutant.done.push(`${field.name} at ${field.at}: 0x${before.toString(16)} -> 0x${value.toString(16)}`)
  writeField(mutant.bytes, field, value)
}

function newValue(
  bytes: Uint8Array,
  field: Field,
  before: bigint,
  fields: readonly Field[],
  random: RandomBelow,
): bigint {
  switch (random(6)) {
    case 0:
      return EXTREMES[random(EXTREMES.length)] ?? 0n
    case 1:
      return before ^ (1n << BigInt(random(field.width * 8)))
    case 2:
      return before + BigInt(random(5) - 2)
    case 3: {
      // Another structure of the image, or a place inside it, with the flags of the old entry.
      const other = fields[random(fields.length)]
      const place = BigInt((other?.at ?? 0) & ~511)
      return (before & 0xff00_0000_0000_01ffn) | place
    }
    case 4: {
      const other = fields[random(fields.length)]
      return other === undefined || other.at + other.width > bytes.byteLength ? before : readField(bytes, other)
    }
    default: {
      const half = () => BigInt(random(2 ** 31)) * 2n + BigInt(random(2))
      return (half() << 32n) | half()
    }
  }
}

function readField(bytes: Uint8Array, field: Field): bigint {
  let value = 0n
  for (let i = 0; i < field.width; i++) value = (value << 8n) | BigInt(bytes[field.at + i] ?? 0)
  return value
}

function writeField(bytes: Uint8Array, field: Field, value: bigint): void {
  for (let i = 0; i < field.width; i++) {
    bytes[field.at + i] = Number((value >> BigInt(8 * (field.width - 1 - i))) & 0xffn)
  }
}
