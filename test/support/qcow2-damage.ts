// Damage to the tables of an image, random but aimed: numbers are changed into others that might stand there, so that most of it
// gets past the first look.

import type { RandomBelow } from '../../src/testing/crash/seeded-random.js'
import { ImageBytes } from './qcow2-bytes.js'

/** What was damaged, for reports. */
export interface Damage {
  bytes: Uint8Array
  done: string[]
}

/** A range whose numbers are worth changing. */
interface Place {
  name: string
  at: number
  bytes: number
}

const OFFSET_MASK = 0x00ff_ffff_ffff_fe00n
const RARE = ['header', 'features', 'bitmap extension', 'bitmap directory', 'bitmap table']

/** Damages a copy of `bytes`, an image that is sound, in one to six places. */
export function damageImage(bytes: Uint8Array, random: RandomBelow): Damage {
  const image = new ImageBytes(bytes.slice())
  const places = placesOf(image).filter(({ at, bytes: length }) => length >= 8 && at + length <= bytes.byteLength)
  const done: string[] = []
  const times = [1, 1, 1, 2, 3, 6][random(6)] ?? 1
  for (let time = 0; time < times; time++) {
    const names = [...new Set(places.map(({ name }) => name))].filter((name) => !RARE.includes(name) || random(7) === 0)
    const name = names[random(names.length)]
    const named = places.filter((place) => place.name === name)
    const place = named[random(named.length)]
    if (place !== undefined) done.push(...change(image, place, named, random))
  }
  if (random(15) === 0) {
    const length = random(Math.ceil(bytes.byteLength / 512)) * 512 + (random(3) === 0 ? 100 : 0)
    if (length > image.clusterSize) {
      image.resize(Math.min(length, image.bytes.byteLength))
      done.push(`cut to ${length}`)
    }
  }
  if (random(20) === 0) {
    image.resize(image.bytes.byteLength + ([1, 512, image.clusterSize * 3][random(3)] ?? 1))
    done.push('longer')
  }
  return { bytes: image.bytes, done }
}

function change(image: ImageBytes, place: Place, alike: readonly Place[], random: RandomBelow): string[] {
  const kind = random(7)
  const at = place.at + random(place.bytes / 8) * 8
  const old = image.get64(at)
  const value = kind === 0 ? old ^ (1n << BigInt(random(64))) : otherValue(image, old, alike, random, kind)
  const written = BigInt.asUintN(64, value)
  // Offsets that open the image have a cap of their own here.
  if (RARE.includes(place.name) && written >= 2n ** 53n && old < 2n ** 53n) return []
  image.put64(at, written)
  return [`${place.name} at ${at}: ${old.toString(16)} to ${written.toString(16)}`]
}

function otherValue(
  image: ImageBytes,
  old: bigint,
  alike: readonly Place[],
  random: RandomBelow,
  kind: number,
): bigint {
  const { clusterSize } = image
  switch (kind) {
    case 1: {
      const clusters = Math.ceil(image.bytes.byteLength / clusterSize) + 2
      return (old & ~OFFSET_MASK) | BigInt(random(clusters) * clusterSize)
    }
    case 2:
      return 0n
    case 3:
      return old ^ (1n << BigInt(random(64)))
    case 4:
      return old ^ (1n << 63n)
    case 5:
      return image.get64(alike[random(alike.length)]?.at ?? 0)
    default: {
      const steps = [512n, 8n, 1n, BigInt(clusterSize), -BigInt(clusterSize), BigInt(clusterSize) * 1000n, 1n << 40n]
      return old + (steps[random(steps.length)] ?? 1n)
    }
  }
}

function placesOf(image: ImageBytes): Place[] {
  const places: Place[] = []
  const add = (name: string, at: number, bytes: number) => {
    places.push({ name, at, bytes: Math.floor(Math.min(bytes, image.bytes.byteLength - at) / 8) * 8 })
  }
  add('header', 40, 32)
  if (image.get32(4) >= 3) {
    add('features', 72, 8)
    bitmapPlaces(image, add)
  }
  const tables = [{ at: image.l1At, entries: image.get32(36) }, ...snapshotPlaces(image, add)]
  add('L1', image.l1At, 64)
  for (const table of tables) mappingPlaces(image, table.at, table.entries, add)
  const { refcountTableAt, clusterSize } = image
  add('refcount table', refcountTableAt, 64)
  for (let entry = 0; entry < (image.get32(56) * clusterSize) / 8; entry++) {
    const block = Number(image.get64(refcountTableAt + entry * 8) & OFFSET_MASK)
    if (block === 0) continue
    add('refcount table entry', refcountTableAt + entry * 8, 8)
    add('refcount block', block, 16)
    add('refcount block', block, Math.min(clusterSize, 64))
  }
  return places
}

type AddPlace = (name: string, at: number, bytes: number) => void

function mappingPlaces(image: ImageBytes, l1: number, entries: number, add: AddPlace): void {
  for (let index = 0; index < entries; index++) {
    const l2 = Number(image.get64(l1 + index * 8) & OFFSET_MASK)
    if (l2 === 0) continue
    add('L1 entry', l1 + index * 8, 8)
    add('L2', l2, image.clusterSize)
    for (let at = l2; at < l2 + image.clusterSize; at += 8) if (image.get64(at) !== 0n) add('L2 entry', at, 8)
  }
}

function snapshotPlaces(image: ImageBytes, add: AddPlace): { at: number; entries: number }[] {
  const tables: { at: number; entries: number }[] = []
  let at = Number(image.get64(64))
  for (let count = 0; count < image.get32(60); count++) {
    add('snapshot', at + 8, 56)
    tables.push({ at: Number(image.get64(at)), entries: image.get32(at + 8) })
    const names = image.get32(at + 12)
    at += Math.ceil((40 + image.get32(at + 36) + (names >>> 16) + (names & 0xffff)) / 8) * 8
  }
  return tables
}

function bitmapPlaces(image: ImageBytes, add: AddPlace): void {
  for (let at = image.get32(100); image.get32(at) !== 0; at += 8 + Math.ceil(image.get32(at + 4) / 8) * 8) {
    if (image.get32(at) !== 0x23852875) continue
    add('bitmap extension', at + 8, 24)
    let entry = Number(image.get64(at + 24))
    add('bitmap directory', entry, Number(image.get64(at + 16)))
    for (let count = 0; count < image.get32(at + 8); count++) {
      add('bitmap table', Number(image.get64(entry)), Math.min(64, image.get32(entry + 8) * 8))
      const names = image.get32(entry + 16) & 0xffff
      entry += Math.ceil((24 + image.get32(entry + 20) + names) / 8) * 8
    }
  }
}
