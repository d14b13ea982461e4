// The snapshot table (qcow2 specification, "Snapshots"): entries of variable length, each at a multiple of 8 bytes. Numbers beyond
// the library's cap are read as the largest safe integer, which no use of them accepts; what is unknown is kept.

import { BlockError } from '../../../common/error.js'
import type { MaybePromise } from '../../../common/maybe-promise.js'
import { KiB, MiB } from '../../../common/units.js'
import { decodeText } from './extensions.js'
import { type HostOffset, host } from './layout.js'

export const MAX_SNAPSHOTS = 65536
export const MAX_SNAPSHOT_TABLE_BYTES = 64 * MiB
/** Bytes of extra data one entry may have. */
export const MAX_SNAPSHOT_EXTRA = KiB
/** What an image of version 3 has to have: the sizes of VM state and disk. */
export const REQUIRED_SNAPSHOT_EXTRA = 16

/** Bytes in front of the extra data; bytes of the extra data known here. */
const FIXED_BYTES = 40
const KNOWN_EXTRA = 24
const MAX_TEXT = 0xffff
const NO_ICOUNT = 0xffff_ffff_ffff_ffffn

/** An entry of the snapshot table. */
export interface Snapshot {
  /** Where its L1 table stands: not checked yet, as `l1Size`; any u64, and inexact where it is no safe integer. */
  l1TableOffset: HostOffset
  /** Entries of its L1 table. */
  l1Size: number
  id: string
  name: string
  /** Id and name as they stand in the table: what is no UTF-8 stays as it is. */
  idBytes: Uint8Array
  nameBytes: Uint8Array
  dateSeconds: number
  dateNanoseconds: number
  /** How long the guest had been running. */
  vmClockNanoseconds: bigint
  /** In bytes; 0 where there is no VM state. */
  vmStateSize: number
  /** Length of the disk in bytes; undefined where a version 2 image does not say. */
  diskSize: number | undefined
  /** Instructions the guest had run; undefined where they were not counted. */
  icount: bigint | undefined
  /** Extra data behind the fields known here. */
  unknownExtra: Uint8Array
}

/** One entry as it was found. */
export interface SnapshotEntry {
  snapshot: Snapshot
  /** Up to the end of the name; the next entry begins at the next multiple of 8. */
  bytes: number
  /** Where its L1 table stands, in halves: exact whatever it is. */
  l1OffsetHalves: readonly [number, number]
  /** Extra data in the table; more than the snapshot keeps where that was too much. */
  extraBytes: number
}

/** Where the parts of an entry stand, given its first 40 bytes. */
interface EntryShape {
  extraBytes: number
  idBytes: number
  nameBytes: number
  total: number
}

function shapeOf(view: DataView): EntryShape {
  const idBytes = view.getUint16(12)
  const nameBytes = view.getUint16(14)
  const extraBytes = view.getUint32(36)
  return { idBytes, nameBytes, extraBytes, total: FIXED_BYTES + extraBytes + idBytes + nameBytes }
}

/** Decodes the entry at the start of `bytes`, which reach at least to its end. Extra data beyond the limit is left out. */
export function decodeSnapshot(bytes: Uint8Array): SnapshotEntry {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const { extraBytes, idBytes, nameBytes, total } = shapeOf(view)
  const textAt = FIXED_BYTES + extraBytes
  const rawId = bytes.slice(textAt, textAt + idBytes)
  const rawName = bytes.slice(textAt + idBytes, textAt + idBytes + nameBytes)
  const has = (field: number) => extraBytes >= field + 8
  const icount = has(16) ? view.getBigUint64(FIXED_BYTES + 16) : NO_ICOUNT
  const snapshot: Snapshot = {
    l1TableOffset: host(wideAt(view, 0)),
    l1Size: view.getUint32(8),
    id: decodeText(rawId),
    name: decodeText(rawName),
    idBytes: rawId,
    nameBytes: rawName,
    dateSeconds: view.getUint32(16),
    dateNanoseconds: view.getUint32(20),
    vmClockNanoseconds: view.getBigUint64(24),
    vmStateSize: has(0) ? cappedAt(view, FIXED_BYTES) : view.getUint32(32),
    diskSize: has(8) ? cappedAt(view, FIXED_BYTES + 8) : undefined,
    icount: icount === NO_ICOUNT ? undefined : icount,
    unknownExtra: bytes.slice(
      FIXED_BYTES + Math.min(KNOWN_EXTRA, extraBytes),
      FIXED_BYTES + Math.min(extraBytes, MAX_SNAPSHOT_EXTRA),
    ),
  }
  // A field that is cut short is none.
  if (extraBytes < KNOWN_EXTRA) snapshot.unknownExtra = new Uint8Array(0)
  return { snapshot, bytes: total, l1OffsetHalves: [view.getUint32(0), view.getUint32(4)], extraBytes }
}

/** Bytes of the encoded entry; the padding behind it is not counted. */
export function snapshotEntryBytes(snapshot: Snapshot): number {
  const { idBytes, nameBytes, unknownExtra } = snapshot
  return FIXED_BYTES + KNOWN_EXTRA + unknownExtra.byteLength + idBytes.byteLength + nameBytes.byteLength
}

/**
 * The whole table, without padding behind the last entry. `currentSize` (bytes) stands for the disk size of those that do not
 * say. EFBIG for more than the limits allow.
 */
export function encodeSnapshotTable(snapshots: readonly Snapshot[], currentSize: number): Uint8Array {
  if (snapshots.length > MAX_SNAPSHOTS) throw new BlockError('EFBIG', 'there is no room for another snapshot')
  const starts: number[] = []
  let end = 0
  for (const snapshot of snapshots) {
    starts.push(padded(end))
    end = padded(end) + snapshotEntryBytes(snapshot)
  }
  if (end > MAX_SNAPSHOT_TABLE_BYTES) throw new BlockError('EFBIG', 'the snapshot table would exceed 64 MiB')
  const table = new Uint8Array(end)
  for (const [index, snapshot] of snapshots.entries()) encodeEntry(snapshot, currentSize, table.subarray(starts[index]))
  return table
}

function encodeEntry(snapshot: Snapshot, currentSize: number, into: Uint8Array): void {
  const { idBytes, nameBytes, unknownExtra, vmStateSize } = snapshot
  const view = new DataView(into.buffer, into.byteOffset, into.byteLength)
  view.setBigUint64(0, BigInt(snapshot.l1TableOffset))
  view.setUint32(8, snapshot.l1Size)
  view.setUint16(12, idBytes.byteLength)
  view.setUint16(14, nameBytes.byteLength)
  view.setUint32(16, snapshot.dateSeconds)
  view.setUint32(20, snapshot.dateNanoseconds)
  view.setBigUint64(24, snapshot.vmClockNanoseconds)
  view.setUint32(32, vmStateSize > 0xffff_ffff ? 0 : vmStateSize)
  view.setUint32(36, KNOWN_EXTRA + unknownExtra.byteLength)
  view.setBigUint64(FIXED_BYTES, BigInt(vmStateSize))
  view.setBigUint64(FIXED_BYTES + 8, BigInt(snapshot.diskSize ?? currentSize))
  view.setBigUint64(FIXED_BYTES + 16, snapshot.icount ?? NO_ICOUNT)
  let at = FIXED_BYTES + KNOWN_EXTRA
  for (const part of [unknownExtra, idBytes, nameBytes]) {
    into.set(part, at)
    at += part.byteLength
  }
}

/** What a table was found to be. */
export interface SnapshotTable {
  entries: SnapshotEntry[]
  /** From its start to the end of the last entry. */
  bytes: number
  /** Entries that were left out, where trimming was asked for. */
  dropped: number
}

/**
 * Reads a table of `count` entries. `fetch` gives bytes of it by their position, zeroes behind the end of the file. A table
 * beyond the limits is refused with EFBIG; with `trim` what exceeds them is left out: extra data, then entries.
 */
export async function readSnapshotTable(
  fetch: (position: number, bytes: number) => MaybePromise<Uint8Array>,
  count: number,
  trim = false,
): Promise<SnapshotTable> {
  if (count > MAX_SNAPSHOTS && !trim) throw new BlockError('EFBIG', 'Snapshot table too large')
  const window = new Window(fetch)
  const entries: SnapshotEntry[] = []
  const readable = Math.min(count, MAX_SNAPSHOTS)
  let end = 0
  for (let index = 0; index < readable; index++) {
    const at = padded(end)
    const shape = shapeOf(viewOf(await window.bytes(at, FIXED_BYTES)))
    if (shape.extraBytes > MAX_SNAPSHOT_EXTRA && !trim) throw tooMuchExtra(index)
    if (at + shape.total > MAX_SNAPSHOT_TABLE_BYTES) {
      if (!trim) throw new BlockError('EFBIG', 'Snapshot table is too large')
      break
    }
    entries.push(await decodeAt(window, at, shape))
    end = at + shape.total
  }
  return { entries, bytes: end, dropped: count - entries.length }
}

async function decodeAt(window: Window, at: number, shape: EntryShape): Promise<SnapshotEntry> {
  const surplus = Math.max(0, shape.extraBytes - MAX_SNAPSHOT_EXTRA)
  if (surplus === 0) return decodeSnapshot(await window.bytes(at, shape.total))
  // Too much to hold: the entry is put together without the surplus.
  const kept = FIXED_BYTES + MAX_SNAPSHOT_EXTRA
  const bytes = new Uint8Array(shape.total - surplus)
  bytes.set(await window.bytes(at, kept))
  bytes.set(await window.bytes(at + kept + surplus, shape.idBytes + shape.nameBytes), kept)
  viewOf(bytes).setUint32(36, MAX_SNAPSHOT_EXTRA)
  return { ...decodeSnapshot(bytes), bytes: shape.total, extraBytes: shape.extraBytes }
}

function tooMuchExtra(index: number): BlockError {
  return new BlockError('EFBIG', `Too much extra metadata in snapshot table entry ${index}`, {
    hint: 'You can force-remove this extra metadata with blockgraph-img check -r all',
  })
}

/** Bytes of the table around where it is read. */
class Window {
  readonly #fetch: (position: number, bytes: number) => MaybePromise<Uint8Array>
  #start = 0
  #bytes = new Uint8Array(0)

  constructor(fetch: (position: number, bytes: number) => MaybePromise<Uint8Array>) {
    this.#fetch = fetch
  }

  /** Valid until the next call. */
  async bytes(at: number, count: number): Promise<Uint8Array> {
    const inside = at >= this.#start && at + count <= this.#start + this.#bytes.byteLength
    if (!inside) {
      this.#start = at
      this.#bytes = new Uint8Array(await this.#fetch(at, Math.max(count, WINDOW_BYTES)))
    }
    return this.#bytes.subarray(at - this.#start, at - this.#start + count)
  }
}

const WINDOW_BYTES = 16 * KiB

/** Whether a text is short enough for an id or a name. */
export function fitsSnapshotText(bytes: Uint8Array): boolean {
  return bytes.byteLength <= MAX_TEXT
}

function padded(end: number): number {
  return Math.ceil(end / 8) * 8
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}

/** A u64; the largest safe integer where it is larger. */
function cappedAt(view: DataView, at: number): number {
  const high = view.getUint32(at)
  return high > 0x1f_ffff ? Number.MAX_SAFE_INTEGER : high * 0x1_0000_0000 + view.getUint32(at + 4)
}

/** A u64 that may be larger than any offset: exact where it is aligned, the largest aligned one where it would round up. */
function wideAt(view: DataView, at: number): number {
  return Math.min(view.getUint32(at) * 0x1_0000_0000 + view.getUint32(at + 4), 2 ** 64 - 2048)
}
