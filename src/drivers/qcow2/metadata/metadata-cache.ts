// A write-back cache of tables of one kind: slices of L2 tables, or refcount blocks. A hit is answered synchronously. What
// has to be on stable storage before a table of this cache is written is declared when the table is changed: the tables of
// the other cache (`dependOn`), or data (`dependOnFlush`). Writing, by flush or eviction, sees to it.

import { assert } from '../../../common/assert.js'
import type { MaybePromise } from '../../../common/maybe-promise.js'
import type { BlockChild } from '../../../io/block-node.js'
import type { Completion } from '../../../io/node-io.js'
import { read } from '../../../io/read.js'
import { settleAll } from '../../../io/settle-all.js'
import { write } from '../../../io/write.js'
import type { HostOffset } from '../format/layout.js'
import { type CacheEntry, createEntry, EntryList, isIdle } from './cache-entries.js'

/** What a cache asks of its image. */
export interface CacheHost {
  readonly file: BlockChild
  /** Makes all that was written to the image's files durable. */
  barrier(): Promise<void>
  /** Throws where a table must not be written to `offset`. */
  beforeWrite(offset: HostOffset, bytes: number): void
  /** Told before a table is read or written, for who debugs; the cache waits for what is returned. */
  reached?(what: 'load' | 'update'): Completion
}

interface Dependency {
  on: MetadataCache | undefined
}

interface Load {
  promise: Promise<CacheEntry>
  /** The table was freed while it was read. */
  stale: boolean
}

/** Tables written out at once when an eviction meets a dirty one: what they depend on is made durable once for all. */
const EVICTION_BATCH_SHARE = 8

/** A cache of tables of `entryBytes` bytes, of which it keeps `capacity` (more while more are held). */
export class MetadataCache {
  readonly entryBytes: number
  capacity: number
  readonly #host: CacheHost
  readonly #entries = new Map<number, CacheEntry>()
  readonly #loads = new Map<number, Load>()
  readonly #byUse = new EntryList()
  #dependency: Dependency | undefined
  #satisfying: Promise<void> | undefined
  #cleaning = 0
  #dirty = 0
  #writes = 0

  constructor(host: CacheHost, entryBytes: number, capacity: number) {
    this.#host = host
    this.entryBytes = entryBytes
    this.capacity = capacity
  }

  /** Tables in memory. */
  get size(): number {
    return this.#entries.size
  }

  /** Tables that differ from the disk. */
  get dirtyCount(): number {
    return this.#dirty
  }

  /** Nothing is to be written, nor is a write under way. */
  get isClean(): boolean {
    return this.#dirty === 0 && this.#writes === 0
  }

  /** The table at `offset` where it is in memory. Not held: to be used in this step only. */
  peek(offset: HostOffset): CacheEntry | undefined {
    const entry = this.#entries.get(offset)
    if (entry !== undefined) this.#touch(entry)
    return entry
  }

  /** The table at `offset`, held until `release`; read where it is not in memory. EIO and others as reading fails. */
  get(offset: HostOffset): MaybePromise<CacheEntry> {
    const entry = this.#entries.get(offset)
    if (entry === undefined) return this.#load(offset)
    this.#touch(entry)
    entry.pins++
    return entry
  }

  /** A table of zeroes for `offset`, held and dirty: what stands on disk there is of no interest. */
  async getEmpty(offset: HostOffset): Promise<CacheEntry> {
    const load = this.#loads.get(offset)
    if (load !== undefined) load.stale = true
    let entry = this.#entries.get(offset)
    if (entry === undefined) {
      await this.#makeRoom()
      entry = this.#entries.get(offset)
    }
    if (entry === undefined) {
      entry = createEntry(offset, new Uint8Array(this.entryBytes), this.#cleaning)
      this.#link(entry)
    }
    entry.table.bytes.fill(0)
    entry.pins++
    this.markDirty(entry)
    return entry
  }

  /** Gives up a hold. */
  release(entry: CacheEntry): void {
    assert(entry.pins > 0, 'a cache entry is released that nobody holds')
    entry.pins--
  }

  /** The table was changed in this step. */
  markDirty(entry: CacheEntry): void {
    if (entry.dirty) return
    entry.dirty = true
    this.#dirty++
  }

  /** Whether {@link dependOn} would not have to wait. */
  mayDependOn(other: MetadataCache): boolean {
    return other.#dependency === undefined
  }

  /** From now on tables of this cache are written only after those that `other` has changed so far are durable. */
  dependOn(other: MetadataCache): Completion {
    if (other.#dependency === undefined) {
      this.#addDependency(other)
      return undefined
    }
    return this.#dependAfter(other)
  }

  /** From now on tables of this cache are written only after what was written to the files so far is durable. */
  dependOnFlush(): void {
    if (this.#dependency === undefined || this.#satisfying !== undefined) {
      this.#dependency = { on: this.#dependency?.on }
    }
  }

  /** Writes every changed table, in the order that was declared. What is written is not durable yet. */
  async flush(): Promise<void> {
    const dirty: CacheEntry[] = []
    for (let entry = this.#byUse.oldest; entry !== undefined; entry = entry.newer) {
      if (entry.dirty || entry.writing !== undefined) dirty.push(entry)
    }
    dirty.sort((a, b) => a.offset - b.offset)
    await this.#writeAll(dirty)
  }

  /** The clusters from `offset` on are free: their tables are dropped, changed or not. */
  forget(offset: HostOffset, bytes: number): void {
    for (let at = offset as number; at < offset + bytes; at += this.entryBytes) {
      const load = this.#loads.get(at)
      if (load !== undefined) load.stale = true
      const entry = this.#entries.get(at)
      if (entry === undefined) continue
      this.#clean(entry)
      this.#remove(entry)
    }
  }

  /** Drops all tables; those that differ from the disk are lost. */
  invalidate(): void {
    for (const load of this.#loads.values()) load.stale = true
    this.#entries.clear()
    this.#byUse.clear()
    this.#dependency = undefined
    this.#dirty = 0
  }

  /** Drops what was not used since the last call and can be dropped without a write. */
  dropUnused(): void {
    this.#cleaning++
    for (let entry = this.#byUse.oldest; entry !== undefined; ) {
      const { newer } = entry
      if (entry.used < this.#cleaning - 1 && isIdle(entry)) this.#remove(entry)
      entry = newer
    }
  }

  #addDependency(other: MetadataCache): void {
    if (this.#dependency !== undefined && this.#satisfying === undefined && this.#dependency.on === other) return
    // An older dependency on other tables is of the same pair: there are two caches.
    this.#dependency = { on: other }
  }

  async #dependAfter(other: MetadataCache): Promise<void> {
    // Each waiting for the other could never be written: what the other waits for goes first.
    while (other.#dependency !== undefined) await other.#satisfy()
    this.#addDependency(other)
  }

  async #load(offset: HostOffset): Promise<CacheEntry> {
    for (;;) {
      const present = this.#entries.get(offset)
      if (present !== undefined) {
        this.#touch(present)
        present.pins++
        return present
      }
      const pending = this.#loads.get(offset)
      if (pending === undefined) break
      await pending.promise
    }
    const load: Load = { promise: this.#fetch(offset), stale: false }
    this.#loads.set(offset, load)
    let entry: CacheEntry
    try {
      entry = await load.promise
    } finally {
      this.#loads.delete(offset)
    }
    const newer = this.#entries.get(offset)
    if (newer !== undefined) entry = newer
    else if (!load.stale) this.#link(entry)
    entry.pins++
    return entry
  }

  async #fetch(offset: HostOffset): Promise<CacheEntry> {
    await this.#makeRoom()
    const bytes = new Uint8Array(this.entryBytes)
    const held = this.#host.reached?.('load')
    if (held !== undefined) await held
    await read(this.#host.file, offset, bytes)
    return createEntry(offset, bytes, this.#cleaning)
  }

  #link(entry: CacheEntry): void {
    this.#entries.set(entry.offset, entry)
    this.#byUse.append(entry)
  }

  #remove(entry: CacheEntry): void {
    this.#entries.delete(entry.offset)
    this.#byUse.remove(entry)
  }

  #touch(entry: CacheEntry): void {
    entry.used = this.#cleaning
    this.#byUse.touch(entry)
  }

  /** Evicts until one more table fits. */
  async #makeRoom(): Promise<void> {
    while (this.#entries.size >= this.capacity) {
      const victim = this.#oldestIdle()
      if (victim !== undefined) {
        this.#remove(victim)
        continue
      }
      const dirty = this.#oldestDirty()
      // All are held: more than the capacity then, as long as they are.
      if (dirty.length === 0) return
      await this.#writeAll(dirty)
    }
  }

  #oldestIdle(): CacheEntry | undefined {
    // The oldest few decide: behind them, dirty ones are better written out.
    let looked = 0
    for (let entry = this.#byUse.oldest; entry !== undefined; entry = entry.newer) {
      if (isIdle(entry)) return entry
      if (entry.pins === 0 && ++looked > this.capacity / EVICTION_BATCH_SHARE) return undefined
    }
    return undefined
  }

  #oldestDirty(): CacheEntry[] {
    const batch = Math.max(1, Math.floor(this.capacity / EVICTION_BATCH_SHARE))
    const found: CacheEntry[] = []
    for (let entry = this.#byUse.oldest; entry !== undefined && found.length < batch; entry = entry.newer) {
      if (entry.pins === 0) found.push(entry)
    }
    return found
  }

  async #writeAll(entries: readonly CacheEntry[]): Promise<void> {
    await settleAll(entries, (entry) => this.#write(entry))
  }

  /** Writes one table as it is when everything it depends on is durable. */
  async #write(entry: CacheEntry): Promise<void> {
    for (;;) {
      if (entry.writing !== undefined) await entry.writing
      else if (!entry.dirty) return
      else if (this.#dependency !== undefined) await this.#satisfy()
      else break
    }
    this.#host.beforeWrite(entry.offset, this.entryBytes)
    this.#clean(entry)
    let finish: () => void = () => {}
    entry.writing = new Promise((resolve) => {
      finish = resolve
    })
    this.#writes++
    try {
      // A copy: the table may change while it is written, and what it says then may depend on more.
      const bytes = entry.table.bytes.slice()
      const held = this.#host.reached?.('update')
      if (held !== undefined) await held
      await write(this.#host.file, entry.offset, bytes)
    } catch (error) {
      if (this.#entries.get(entry.offset) === entry) this.markDirty(entry)
      throw error
    } finally {
      this.#writes--
      entry.writing = undefined
      finish()
    }
  }

  #clean(entry: CacheEntry): void {
    if (!entry.dirty) return
    entry.dirty = false
    this.#dirty--
  }

  /** Makes durable what the tables of this cache depend on. One at a time; a failure leaves the dependency in place. */
  async #satisfy(): Promise<void> {
    if (this.#satisfying !== undefined) {
      await this.#satisfying
      return
    }
    const dependency = this.#dependency
    if (dependency === undefined) return
    let finish: () => void = () => {}
    this.#satisfying = new Promise((resolve) => {
      finish = resolve
    })
    try {
      await dependency.on?.flush()
      await this.#host.barrier()
      // Declared anew meanwhile, it has to be satisfied anew.
      if (this.#dependency === dependency) this.#dependency = undefined
    } finally {
      this.#satisfying = undefined
      finish()
    }
  }
}
