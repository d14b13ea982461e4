// Requests in flight of a split ring (vhost-user.rst, QueueRegionSplit): a head's byte is set while the device has it, with a
// counter that tells the order, and the last batch that was returned is a list, in case its bytes were not cleared any more.
// Each store is in its place for the process may be killed after any of them.

import { BlockError } from '../../../common/error.js'
import type { InflightTracker } from '../../../devices/virtio/queue/inflight-tracker.js'
import { ringDistance } from '../../../protocols/virtio/split-ring.js'
import { checkPart, damaged, ENTRIES_WORD, loadCounter, storeCounter, VERSION_1, VERSION_WORD } from './record-head.js'

const HEAD_BYTES = 16
const ENTRY_BYTES = 16
/** In 16-bit words of the head: head of the last batch, used index. */
const BATCH = 6
const USED = 7

/** Bytes of the record of a ring of `size` entries. */
export function splitRecordBytes(size: number): number {
  return HEAD_BYTES + ENTRY_BYTES * size
}

/** The record of one ring, and its writer. */
export class SplitRecord implements InflightTracker {
  private readonly entries: number
  private readonly bytes: Uint8Array
  private readonly halves: Uint16Array
  private readonly words: Uint32Array
  /** Orders what is taken. */
  private counter = 0
  /** Heads returned since the driver was shown something. */
  private readonly batch: number[] = []

  /** `memory` holds a record of `entries` entries. Throws EINVAL where it is of another kind. */
  constructor(memory: ArrayBuffer, entries: number) {
    this.entries = entries
    this.bytes = new Uint8Array(memory)
    this.halves = new Uint16Array(memory)
    this.words = new Uint32Array(memory)
    checkPart(this.halves, entries)
  }

  /**
   * What an earlier life has left, in the order in which it was taken, for a ring of `size` entries whose used index is
   * `usedIndex` and whose driver has made available up to `availIndex`. Throws EINVAL for a record that cannot be true.
   */
  recover(size: number, usedIndex: number, availIndex: number): number[] {
    if (this.halves[VERSION_WORD] === 0) {
      this.halves[ENTRIES_WORD] = this.entries
      this.halves[USED] = usedIndex
      Atomics.store(this.halves, VERSION_WORD, VERSION_1)
      return []
    }
    this.clearLastBatch(usedIndex)
    const found: { head: number; counter: number }[] = []
    for (let head = 0; head < this.entries; head++) {
      if (this.bytes[this.byteOf(head)] === 0) continue
      const counter = this.counterOf(head)
      this.counter = Math.max(this.counter, counter + 1)
      if (head < size) found.push({ head, counter })
    }
    if (found.length > Math.min(size, ringDistance(usedIndex, availIndex))) {
      throw new BlockError('EINVAL', `${found.length} requests in flight, more than the driver has made`)
    }
    return found.sort((a, b) => a.counter - b.counter).map(({ head }) => head)
  }

  taken(head: number): void {
    const word = (HEAD_BYTES + ENTRY_BYTES * head) / 4
    storeCounter(this.words, word + 2, this.counter)
    this.counter++
    Atomics.store(this.bytes, this.byteOf(head), 1)
  }

  returning(head: number): void {
    this.halves[this.nextOf(head)] = this.halves[BATCH] as number
    Atomics.store(this.halves, BATCH, head)
    this.batch.push(head)
  }

  published(usedIndex: number): void {
    const { batch } = this
    for (let i = 0; i < batch.length; i++) this.bytes[this.byteOf(batch[i] as number)] = 0
    batch.length = 0
    Atomics.store(this.halves, USED, usedIndex)
  }

  /** The driver has been shown a batch whose bytes may still be set. */
  private clearLastBatch(usedIndex: number): void {
    let head = this.halves[BATCH] as number
    const count = ringDistance(this.halves[USED] as number, usedIndex)
    if (count > this.entries) throw new BlockError('EINVAL', 'the record of requests in flight is of another ring')
    for (let i = 0; i < count; i++) {
      if (head >= this.entries) throw damaged()
      this.bytes[this.byteOf(head)] = 0
      head = this.halves[this.nextOf(head)] as number
    }
    this.halves[USED] = usedIndex
  }

  private byteOf(head: number): number {
    return HEAD_BYTES + ENTRY_BYTES * head
  }

  private nextOf(head: number): number {
    return (HEAD_BYTES + ENTRY_BYTES * head) / 2 + 3
  }

  private counterOf(head: number): number {
    return loadCounter(this.words, (HEAD_BYTES + ENTRY_BYTES * head) / 4 + 2)
  }
}
