// What holds for the buffers of a chain, whatever ring or table their descriptors stand in: readable before writable, a
// total that a used length can say, inside guest memory, a limit of descriptors. Each function says what is wrong, if so.

import { VIRTQ_DESC_BYTES, VIRTQ_MAX_CHAIN_BYTES } from '../../../protocols/virtio/split-ring.js'
import type { DescriptorChain } from '../memory/descriptor-chain.js'
import type { GuestMemory } from '../memory/guest-memory.js'

/**
 * Most descriptors in a chain through an indirect table. A driver must not exceed the queue size (virtio 1.2, 2.7.5.3.1),
 * but common ones go by what the device takes in one request; a device may have a limit of its own (2.7.4.1).
 */
export const INDIRECT_LIMIT = 1024

/** Appends a buffer to `chain`. */
export function addBuffer(
  chain: DescriptorChain,
  memory: GuestMemory,
  high: number,
  low: number,
  length: number,
  writable: boolean,
): string | undefined {
  if (writable) chain.writing = true
  else if (chain.writing) return 'readable descriptor behind a writable one (virtio 1.2, 2.7.4.2, 2.8.17)'
  if (chain.readableBytes + chain.writableBytes + length > VIRTQ_MAX_CHAIN_BYTES) {
    return 'chain of more than 2^32-1 bytes (virtio 1.2, 2.7.5.2)'
  }
  if (length === 0) {
    chain.hasEmptyBuffer = true
    return undefined
  }
  const region = memory.find(high, low, length)
  if (region !== undefined) chain.piece(region, high * 0x1_0000_0000 + low - region.base, length)
  else if (!memory.pieces(high, low, length, chain)) return 'descriptor outside guest memory (virtio 1.2, 2.7.13.1)'
  if (writable) chain.markWritable(length)
  else chain.markReadable(length)
  return undefined
}

/** Where an indirect table lies: its own memory, or a copy of a table that is split between regions or unaligned. */
export class IndirectTable {
  /** The words that hold it, and the index of its first one. */
  words: Uint32Array = new Uint32Array(0)
  at = 0
  entries = 0

  private readonly limit: number
  private copy = new Uint8Array(0)
  private copied = 0

  /** For a queue of `size` entries. */
  constructor(size: number) {
    this.limit = Math.max(size, INDIRECT_LIMIT)
  }

  /** Finds the table of `length` bytes (virtio 1.2, 2.7.5.3, 2.8.7). */
  locate(memory: GuestMemory, high: number, low: number, length: number): string | undefined {
    if (length === 0 || length % VIRTQ_DESC_BYTES !== 0) {
      return `indirect table of ${length} bytes is no table of descriptors (virtio 1.2, 2.7.5.3, 2.8.7)`
    }
    const entries = length / VIRTQ_DESC_BYTES
    if (entries > this.limit) {
      return `indirect table of ${entries} descriptors, more than ${this.limit} (virtio 1.2, 2.7.5.3.1, 2.8.19)`
    }
    this.entries = entries
    const region = memory.find(high, low, length)
    const start = region === undefined ? 0 : high * 0x1_0000_0000 + low - region.base
    // Below 2^32 and on a word, so that a shift finds the word.
    if (region !== undefined && start <= 0xffff_ffff && (start & 3) === 0) {
      this.words = region.words
      this.at = start >>> 2
      return undefined
    }
    return this.gather(memory, high, low, length)
  }

  /** A piece of a table that is copied together. */
  piece(region: { readonly bytes: Uint8Array }, start: number, bytes: number): void {
    this.copy.set(region.bytes.subarray(start, start + bytes), this.copied)
    this.copied += bytes
  }

  private gather(memory: GuestMemory, high: number, low: number, length: number): string | undefined {
    if (this.copy.length < length) this.copy = new Uint8Array(this.limit * VIRTQ_DESC_BYTES)
    this.copied = 0
    if (!memory.pieces(high, low, length, this)) return 'indirect table outside guest memory (virtio 1.2, 2.7.5.3)'
    this.words = new Uint32Array(this.copy.buffer, 0, length >>> 2)
    this.at = 0
    return undefined
  }
}
