// Tables in memory and the order of their use, from the oldest to the newest.

import type { HostOffset } from '../format/layout.js'
import { Table64 } from '../format/table.js'

/** A table in memory. Its bytes may be read while it is held, and changed by whoever calls `markDirty` in the same step. */
export interface CacheEntry {
  readonly offset: HostOffset
  readonly table: Table64
  dirty: boolean
  /** Holders; a held entry is not evicted. */
  pins: number
  /** The number of the last cleaning at its last use. */
  used: number
  /** The write under way; never rejects. */
  writing: Promise<void> | undefined
  older: CacheEntry | undefined
  newer: CacheEntry | undefined
}

/** A table that nobody holds. */
export function createEntry(offset: HostOffset, bytes: Uint8Array, used: number): CacheEntry {
  return {
    offset,
    table: new Table64(bytes),
    dirty: false,
    pins: 0,
    used,
    writing: undefined,
    older: undefined,
    newer: undefined,
  }
}

/** Whether a table can be dropped without a write. */
export function isIdle(entry: CacheEntry): boolean {
  return entry.pins === 0 && !entry.dirty && entry.writing === undefined
}

/** A list through the entries themselves. */
export class EntryList {
  oldest: CacheEntry | undefined
  newest: CacheEntry | undefined

  /** Appends an entry that is in no list, as the newest. */
  append(entry: CacheEntry): void {
    entry.older = this.newest
    if (this.newest !== undefined) this.newest.newer = entry
    else this.oldest = entry
    this.newest = entry
  }

  remove(entry: CacheEntry): void {
    const { older, newer } = entry
    if (older !== undefined) older.newer = newer
    else this.oldest = newer
    if (newer !== undefined) newer.older = older
    else this.newest = older
    entry.older = undefined
    entry.newer = undefined
  }

  /** Makes an entry of the list its newest. */
  touch(entry: CacheEntry): void {
    if (entry === this.newest) return
    this.remove(entry)
    this.append(entry)
  }

  clear(): void {
    this.oldest = undefined
    this.newest = undefined
  }
}
