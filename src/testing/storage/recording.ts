// A filter that writes down what changes the storage below it, in order, with the bytes: the raw material of crash tests.
// A test adds marks, such as "this guest write was acknowledged", into the same order.

import { type Bytes, flattenBytes } from '../../common/io-vector.js'
import type { RequestFlags } from '../../common/request.js'
import type { Offset } from '../../common/units.js'
import { childLength, forwardedFlags, openFiltered } from '../../drivers/filters/forward.js'
import { type BlockDriver, defineDriver, type OpenedNode } from '../../global-state/driver.js'
import type { BlockChild } from '../../io/block-node.js'
import { discard } from '../../io/discard.js'
import type { Completion, NodeIo } from '../../io/node-io.js'
import { read } from '../../io/read.js'
import { truncate } from '../../io/truncate.js'
import { write } from '../../io/write.js'
import { writeZeroes } from '../../io/write-zeroes.js'
import type { ChunkStore } from './memory-storage.js'

/** A recorded request or mark. Serial numbers are common to all nodes and marks of one recording. */
export type RecordEntry = RecordBase &
  (
    | { kind: 'write'; offset: Offset; data: Uint8Array; flags: RequestFlags }
    | { kind: 'zero'; offset: Offset; bytes: number; flags: RequestFlags }
    | { kind: 'discard'; offset: Offset; bytes: number }
    | { kind: 'truncate'; from: Offset; length: Offset }
    | { kind: 'flush' }
    | { kind: 'mark'; label: string }
  )

interface RecordBase {
  /** When it was submitted. */
  serial: number
  node: string
  /** When it completed; undefined while in flight. A mark completes at once. */
  doneSerial: number | undefined
  failed: boolean
}

type Recorded = RecordEntry extends infer E ? (E extends RecordEntry ? Omit<E, keyof RecordBase> : never) : never

/** What one or more recording nodes have written down. */
export class Recording {
  readonly entries: RecordEntry[] = []
  #serial = 0

  /** Notes that something happened outside the storage; the serial number of the note. */
  mark(label: string): number {
    const entry = this.begin('', { kind: 'mark', label })
    entry.doneSerial = entry.serial
    return entry.serial
  }

  /** Adds an entry that is in flight. */
  begin(node: string, what: Recorded): RecordEntry {
    const entry: RecordEntry = { ...what, serial: this.#serial++, node, doneSerial: undefined, failed: false }
    this.entries.push(entry)
    return entry
  }

  /** Notes that an entry completed. */
  end(entry: RecordEntry, failed: boolean): void {
    entry.doneSerial = this.#serial++
    entry.failed = failed
  }

  /** Entries that change content or length, in the order they were submitted, from `from` to `to` (serials, exclusive). */
  changes(from = 0, to: number = Number.POSITIVE_INFINITY): RecordEntry[] {
    return this.entries.filter(
      ({ serial, kind }) => serial >= from && serial < to && kind !== 'flush' && kind !== 'mark',
    )
  }

  /** Forgets everything; serial numbers go on. */
  clear(): void {
    this.entries.length = 0
  }
}

/** Does to `store` what an entry says; flushes and marks do nothing. Writes behind the end grow the store. */
export function applyEntry(store: ChunkStore, entry: RecordEntry): void {
  const reach = (end: Offset) => {
    if (end > store.length) store.resize(end)
  }
  switch (entry.kind) {
    case 'write':
      reach(entry.offset + entry.data.byteLength)
      store.write(entry.offset, entry.data)
      return
    case 'zero':
      reach(entry.offset + entry.bytes)
      store.zero(entry.offset, entry.bytes)
      return
    case 'discard':
      store.discard(entry.offset, entry.bytes)
      return
    case 'truncate':
      store.resize(entry.length)
      return
    default:
  }
}

/** A filter driver whose nodes write into `recording`. */
export function recordingDriver(recording: Recording, name = 'recording'): BlockDriver {
  return defineDriver({
    name,
    kind: 'filter',
    options: {},
    childNames: ['file'],
    async open(context): Promise<OpenedNode<Recording>> {
      const file = await openFiltered(context)
      return {
        io: recordingIo(file, context.nodeName, recording),
        state: recording,
        truncateFlags: file.node.state.truncateFlags,
        ...forwardedFlags(file),
      }
    },
  })
}

function recordingIo(file: BlockChild, node: string, recording: Recording): NodeIo {
  const recorded = (what: Recorded, go: () => Completion) => {
    const entry = recording.begin(node, what)
    return ending(go, (failed) => recording.end(entry, failed))
  }
  const copy = (data: Bytes) => flattenBytes(data).slice()
  return {
    length: () => childLength(file),
    read: (offset, into, flags) => read(file, offset, into, flags),
    write: (offset, data, flags) =>
      recorded({ kind: 'write', offset, data: copy(data), flags }, () => write(file, offset, data, flags)),
    writeZeroes: (offset, bytes, flags) =>
      recorded({ kind: 'zero', offset, bytes, flags }, () => writeZeroes(file, offset, bytes, flags)),
    discard: (offset, bytes) => recorded({ kind: 'discard', offset, bytes }, () => discard(file, offset, bytes)),
    truncate: (length, options) =>
      recorded({ kind: 'truncate', from: file.node.state.length, length }, () => truncate(file, length, options)),
    // The flush of the child follows this one: what counts as flushed is what was complete when it began.
    flush: () => recorded({ kind: 'flush' }, () => undefined),
  }
}

/** Runs `go` and tells `ended`, once, whether it failed. */
function ending(go: () => Completion, ended: (failed: boolean) => void): Completion {
  let pending: Completion
  try {
    pending = go()
  } catch (error) {
    ended(true)
    throw error
  }
  if (pending === undefined) {
    ended(false)
    return undefined
  }
  return pending.then(
    () => ended(false),
    (error: unknown) => {
      ended(true)
      throw error
    },
  )
}
