// Requests as a driver of good faith may send them, in any layout, and what a disk that does one after the other answers.

import fc from 'fast-check'
import { expect } from 'vitest'
import { encodeBlkSegment } from '../../src/protocols/virtio/blk.js'
import { type BlkMachine, DATA } from './blk-machine.js'

/** Bytes of the disk. */
export const DISK = 64 * 512
/** Each request has so many bytes of guest memory. */
const SLOT = 0x4000

/** A request as a driver of good faith may send it, in any layout. */
export interface LegalRequest {
  kind: 'read' | 'write' | 'flush' | 'get-id' | 'discard' | 'write-zeroes'
  sector: number
  sectors: number
  seed: number
  /** Where the readable and the writable bytes are cut into descriptors. */
  readCuts: number[]
  writeCuts: number[]
}

/** A part of the whole. Even parts: arbitrary doubles would nearly all be next to nothing. */
export const cutPlace = fc.nat(999).map((part) => part / 1000)

const TYPES = { read: 0, write: 1, flush: 4, 'get-id': 8, discard: 11, 'write-zeroes': 13 }

/** Cuts `bytes` into non-empty pieces. */
function cut(bytes: number, cuts: number[]): number[] {
  const places = [
    ...new Set(cuts.map((part) => Math.floor(part * bytes)).filter((place) => place > 0 && place < bytes)),
  ]
  places.sort((a, b) => a - b)
  return [...places, bytes].map((place, i) => place - (i === 0 ? 0 : (places[i - 1] as number)))
}

/** Lays a request out at its slot and adds it to the queue; false where the queue is full. */
export function submit(machine: BlkMachine, request: LegalRequest, slot: number): number {
  const at = DATA + slot * SLOT
  const bytes = request.sectors * 512
  const hasSegment = request.kind === 'discard' || request.kind === 'write-zeroes'
  const readable = 16 + (request.kind === 'write' ? bytes : hasSegment ? 16 : 0)
  const writable = 1 + (request.kind === 'read' ? bytes : request.kind === 'get-id' ? 20 : 0)
  machine.header(TYPES[request.kind], request.kind === 'read' || request.kind === 'write' ? request.sector : 0, at)
  if (request.kind === 'write') machine.ram.fill(request.seed, at + 16, at + readable)
  if (hasSegment) {
    encodeBlkSegment(machine.view, at + 16, {
      sectorHigh: 0,
      sectorLow: request.sector,
      sectors: request.sectors,
      flags: 0,
    })
  }
  machine.ram.fill(0xee, at + readable, at + readable + writable)
  const reads = cut(readable, request.readCuts)
  const writes = cut(writable, request.writeCuts)
  const { queue } = machine.driver
  const head = queue.begin(reads.length + writes.length)
  if (head < 0) return -1
  let address = at
  for (const length of reads) {
    queue.append(address, length, false)
    address += length
  }
  for (const length of writes) {
    queue.append(address, length, true)
    address += length
  }
  queue.end()
  return head
}

/**
 * What a disk that does one request after the other would answer; `spoilt`: one that cannot do this one. `model` is what
 * that disk holds.
 */
export function check(
  machine: BlkMachine,
  model: Uint8Array,
  request: LegalRequest,
  slot: number,
  used: number,
  spoilt = false,
): void {
  const at = DATA + slot * SLOT
  const bytes = request.sectors * 512
  const offset = request.sector * 512
  const inside = !spoilt && (request.kind === 'flush' || request.kind === 'get-id' || offset + bytes <= DISK)
  const data = at + 16
  const readData = request.kind === 'read' ? bytes : request.kind === 'get-id' ? 20 : 0
  const statusAt =
    at +
    16 +
    (request.kind === 'write' ? bytes : request.kind === 'discard' || request.kind === 'write-zeroes' ? 16 : readData)
  expect(machine.ram[statusAt]).toBe(inside ? 0 : 1)
  expect(used).toBe(inside ? readData + 1 : readData === 0 ? 1 : 0)
  if (!inside) return
  if (request.kind === 'write') model.fill(request.seed, offset, offset + bytes)
  if (request.kind === 'write-zeroes' || request.kind === 'discard') model.fill(0, offset, offset + bytes)
  if (request.kind === 'read') {
    expect(same(machine.ram.subarray(data, data + bytes), model.subarray(offset, offset + bytes))).toBe(true)
  }
}

/** Comparing bytes by the test runner's own equality takes longer than all the requests. */
export function same(a: Uint8Array, b: Uint8Array): boolean {
  return Buffer.compare(a, b) === 0
}
