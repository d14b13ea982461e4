// Requests in flight of a packed ring (vhost-user.rst, QueueRegionPacked). The driver may overwrite a ring's descriptors as
// soon as others come back, so that each one is copied: a request is a list of entries, its first one says that it is in
// flight. A list that was returned and not yet shown says so (`inflight` 2): whether it was shown is seen in the ring.
// Each store is in its place, for the process may be killed after any of them.

import type { QueueState } from '../../../devices/virtio/queue/device-queue.js'
import type { InflightTracker } from '../../../devices/virtio/queue/inflight-tracker.js'
import type { EarlierList } from '../../../devices/virtio/queue/taken-heads.js'
import { checkPart, damaged, ENTRIES_WORD, loadCounter, storeCounter, VERSION_1, VERSION_WORD } from './record-head.js'

const HEAD_BYTES = 32
const ENTRY_BYTES = 32
/** In 16-bit words of the head. */
const FREE = 6
const OLD_FREE = 7
const USED = 8
const OLD_USED = 9
/** In bytes of the head: wrap counters. */
const USED_WRAP = 20
const OLD_USED_WRAP = 21

/** States of a list. */
const IN_FLIGHT = 1
const RETURNING = 2

/** Bytes of the record of a ring of `size` entries. */
export function packedRecordBytes(size: number): number {
  return HEAD_BYTES + ENTRY_BYTES * size
}

/** The ring itself, slot by slot. */
export interface PackedSlots {
  readonly size: number
  /** Whether a slot is marked available in the turn of a wrap counter. */
  isAvailable(slot: number, wrap: boolean): boolean
  markAvailable(slot: number, wrap: boolean): void
}

/** What an earlier life has left. */
export interface PackedRemains {
  heads: number[]
  lists: EarlierList[]
  state: QueueState
}

/** The record of one ring, and its writer. */
export class PackedRecord implements InflightTracker {
  private readonly entries: number
  private readonly bytes: Uint8Array
  private readonly halves: Uint16Array
  private readonly words: Uint32Array
  /** First entry of the list of each buffer id that is in flight. */
  private readonly entryOf = new Map<number, number>()
  private batch: number[] = []
  private counter = 0
  private size = 0

  /** `memory` holds a record of `entries` entries. Throws EINVAL where it is of another kind. */
  constructor(memory: ArrayBuffer, entries: number) {
    this.entries = entries
    this.bytes = new Uint8Array(memory)
    this.halves = new Uint16Array(memory)
    this.words = new Uint32Array(memory)
    checkPart(this.halves, entries)
  }

  /**
   * What an earlier life has left for `ring`, which stands at `start` if there was none. A batch that the earlier life was
   * about to show is taken back. Throws EINVAL for a record that cannot be true.
   */
  recover(ring: PackedSlots, start: QueueState): PackedRemains {
    this.size = ring.size
    if (this.halves[VERSION_WORD] === 0) {
      this.initialise(start)
      return { heads: [], lists: [], state: start }
    }
    this.settle(ring)
    const remains: PackedRemains = { heads: [], lists: [], state: start }
    const owned = new Set<number>()
    let slots = 0
    for (const first of this.firstEntries()) {
      const list = this.readList(first, owned)
      const head = (list.descriptors.at(-1) as number) & 0xffff
      if (head >= this.size || this.entryOf.has(head)) throw damaged()
      this.entryOf.set(head, first)
      remains.heads.push(head)
      remains.lists.push(list)
      slots += list.slots
    }
    if (slots > this.size) throw damaged()
    this.linkFree(owned)
    remains.state = this.stateBehind(slots)
    return remains
  }

  taken(head: number, descriptors: Uint32Array, count: number): void {
    const first = this.halves[FREE] as number
    let entry = first
    let last = first
    for (let i = 0; i < count; i++) {
      const word = entry * 8 + 8
      const from = 4 * i
      this.words[word + 4] = descriptors[from + 3] as number
      this.words[word + 5] = descriptors[from + 2] as number
      this.words[word + 6] = descriptors[from] as number
      this.words[word + 7] = descriptors[from + 1] as number
      last = entry
      entry = this.halves[half(entry) + 1] as number
    }
    this.halves[half(first) + 2] = last
    this.halves[half(first) + 3] = count
    storeCounter(this.words, first * 8 + 10, this.counter)
    this.counter++
    Atomics.store(this.bytes, HEAD_BYTES + ENTRY_BYTES * first, IN_FLIGHT)
    this.halves[FREE] = entry
    Atomics.store(this.halves, OLD_FREE, entry)
    this.entryOf.set(head, first)
  }

  returning(head: number): void {
    const first = this.entryOf.get(head) as number
    this.entryOf.delete(head)
    this.batch.push(first)
    Atomics.store(this.bytes, HEAD_BYTES + ENTRY_BYTES * first, RETURNING)
    let used = (this.halves[USED] as number) + (this.halves[half(first) + 3] as number)
    if (used >= this.size) {
      used -= this.size
      this.bytes[USED_WRAP] = this.bytes[USED_WRAP] === 0 ? 1 : 0
    }
    Atomics.store(this.halves, USED, used)
  }

  published(usedIndex: number, usedWrap: boolean): void {
    for (const first of this.batch) {
      const last = this.halves[half(first) + 2] as number
      this.bytes[HEAD_BYTES + ENTRY_BYTES * first] = 0
      this.halves[half(last) + 1] = this.halves[FREE] as number
      this.halves[FREE] = first
    }
    this.batch = []
    this.halves[OLD_FREE] = this.halves[FREE] as number
    this.halves[USED] = usedIndex
    this.bytes[USED_WRAP] = usedWrap ? 1 : 0
    this.bytes[OLD_USED_WRAP] = usedWrap ? 1 : 0
    Atomics.store(this.halves, OLD_USED, usedIndex)
  }

  private initialise(start: QueueState): void {
    this.halves[ENTRIES_WORD] = this.entries
    this.linkFree(new Set())
    this.setUsed(start.usedIndex, start.usedWrap)
    Atomics.store(this.halves, VERSION_WORD, VERSION_1)
  }

  /** Decides what became of a batch that was being shown when the earlier life ended. */
  private settle(ring: PackedSlots): void {
    const used = this.halves[USED] as number
    const usedWrap = this.bytes[USED_WRAP] !== 0
    const oldUsed = this.halves[OLD_USED] as number
    const oldWrap = this.bytes[OLD_USED_WRAP] !== 0
    if (used >= this.size || oldUsed >= this.size) throw damaged()
    const returning: number[] = []
    for (let entry = 0; entry < this.entries; entry++) {
      if (this.bytes[HEAD_BYTES + ENTRY_BYTES * entry] === RETURNING) returning.push(entry)
    }
    // The first descriptor of a batch is marked last, and shows all of it.
    const shown = returning.length === 0 || !ring.isAvailable(oldUsed, oldWrap)
    for (const first of returning) this.bytes[HEAD_BYTES + ENTRY_BYTES * first] = shown ? 0 : IN_FLIGHT
    if (shown) this.setUsed(used, usedWrap)
    else this.takeBack(ring, oldUsed, oldWrap, used)
  }

  /** What stands behind the first descriptor of a batch must not be seen once that one is shown for itself. */
  private takeBack(ring: PackedSlots, oldUsed: number, oldWrap: boolean, used: number): void {
    let slot = oldUsed
    let wrap = oldWrap
    for (let left = this.size; left > 0 && slot !== used; left--) {
      ring.markAvailable(slot, wrap)
      slot++
      if (slot < this.size) continue
      slot = 0
      wrap = !wrap
    }
    this.setUsed(oldUsed, oldWrap)
  }

  private setUsed(index: number, wrap: boolean): void {
    this.halves[USED] = index
    this.halves[OLD_USED] = index
    this.bytes[USED_WRAP] = wrap ? 1 : 0
    this.bytes[OLD_USED_WRAP] = wrap ? 1 : 0
  }

  /** First entries of the lists in flight, in the order in which they were taken. */
  private firstEntries(): number[] {
    const found: { entry: number; counter: number }[] = []
    for (let entry = 0; entry < this.entries; entry++) {
      if (this.bytes[HEAD_BYTES + ENTRY_BYTES * entry] !== IN_FLIGHT) continue
      const counter = loadCounter(this.words, entry * 8 + 10)
      this.counter = Math.max(this.counter, counter + 1)
      found.push({ entry, counter })
    }
    return found.sort((a, b) => a.counter - b.counter).map(({ entry }) => entry)
  }

  private readList(first: number, owned: Set<number>): EarlierList {
    const slots = this.halves[half(first) + 3] as number
    if (slots < 1 || slots > this.entries) throw damaged()
    const descriptors = new Uint32Array(4 * slots)
    let entry = first
    for (let i = 0; i < slots; i++) {
      if (entry >= this.entries || owned.has(entry)) throw damaged()
      owned.add(entry)
      const word = entry * 8 + 8
      descriptors[4 * i] = this.words[word + 6] as number
      descriptors[4 * i + 1] = this.words[word + 7] as number
      descriptors[4 * i + 2] = this.words[word + 5] as number
      descriptors[4 * i + 3] = this.words[word + 4] as number
      entry = this.halves[half(entry) + 1] as number
    }
    return { slots, descriptors }
  }

  /** Makes a list of all entries that no request has. */
  private linkFree(owned: ReadonlySet<number>): void {
    let next = 0
    for (let entry = this.entries - 1; entry >= 0; entry--) {
      if (owned.has(entry)) continue
      this.bytes[HEAD_BYTES + ENTRY_BYTES * entry] = 0
      this.halves[half(entry) + 1] = next
      next = entry
    }
    this.halves[FREE] = next
    this.halves[OLD_FREE] = next
  }

  private stateBehind(slots: number): QueueState {
    const usedIndex = this.halves[USED] as number
    const usedWrap = this.bytes[USED_WRAP] !== 0
    const end = usedIndex + slots
    const wraps = end >= this.size
    return {
      usedIndex,
      usedWrap,
      availIndex: wraps ? end - this.size : end,
      availWrap: wraps ? !usedWrap : usedWrap,
    }
  }
}

/** Place of an entry in 16-bit words: inflight and padding, next, last, num, counter (4 words), id, flags, len, addr. */
function half(entry: number): number {
  return (HEAD_BYTES + ENTRY_BYTES * entry) / 2
}
