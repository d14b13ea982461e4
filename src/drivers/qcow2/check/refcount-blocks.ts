// The refcount blocks of the image, one in memory at a time, as a check compares and repairs them.

import { BlockError } from '../../../common/error.js'
import { write } from '../../../io/write.js'
import { readRefcount, writeRefcount } from '../format/refcount-codec.js'
import { OFFSET_LOW_MASK, type Table64 } from '../format/table.js'
import { isWatched, reach } from '../metadata/debug-points.js'
import { type CheckRun, readFileAt, UNREADABLE_FROM } from './check-run.js'
import { hex, hexOfHalves } from './count-region.js'
import { isBlockAligned, refcountBlockOffset } from './count-structures.js'

/** Refcounts as the image has them. */
export class RefcountBlocks {
  readonly #run: CheckRun
  readonly #table: Table64
  #index = -1
  #view: DataView = new DataView(new ArrayBuffer(0))
  #dirty = false
  #told = false

  constructor(run: CheckRun, table: Table64) {
    this.#run = run
    this.#table = table
  }

  /** The numbers of the blocks the table names. */
  *indices(): Generator<number> {
    for (let index = 0; index < this.#table.length; index++) {
      if (refcountBlockOffset(this.#table, index) !== 0) yield index
    }
  }

  /** The bytes of block `index`, all 0 where there is none; valid until the next call. EIO where it cannot be read. */
  async load(index: number): Promise<Uint8Array> {
    if (index !== this.#index) {
      await this.save()
      this.#index = -1
      this.#view = new DataView((await this.#read(index)).buffer)
      this.#index = index
    }
    return new Uint8Array(this.#view.buffer)
  }

  async get(cluster: number): Promise<number> {
    const { refcountBlockEntries, refcountOrder } = this.#run.image.layout
    await this.load(Math.floor(cluster / refcountBlockEntries))
    return readRefcount(this.#view, cluster % refcountBlockEntries, refcountOrder)
  }

  /** The refcount in the block loaded last, for people: exact at any width. */
  text(cluster: number): string {
    const { refcountBlockEntries, refcountOrder } = this.#run.image.layout
    const entry = cluster % refcountBlockEntries
    return refcountOrder === 6
      ? this.#view.getBigUint64(entry * 8).toString()
      : String(readRefcount(this.#view, entry, refcountOrder))
  }

  /** Sets a refcount in the block loaded last, which exists. */
  set(cluster: number, count: number): void {
    const { refcountBlockEntries, refcountOrder } = this.#run.image.layout
    writeRefcount(this.#view, cluster % refcountBlockEntries, refcountOrder, count)
    this.#dirty = true
  }

  /** Whether the table names a block that describes `cluster`. */
  describes(cluster: number): boolean {
    const index = Math.floor(cluster / this.#run.image.layout.refcountBlockEntries)
    return index < this.#table.length && refcountBlockOffset(this.#table, index) !== 0
  }

  /** Writes the block loaded last where it was changed. */
  async save(): Promise<void> {
    if (!this.#dirty) return
    if (isWatched(this.#run.image)) await reach(this.#run.image, 'refblock_update')
    await write(this.#run.image.file, refcountBlockOffset(this.#table, this.#index), new Uint8Array(this.#view.buffer))
    this.#dirty = false
  }

  async #read(index: number): Promise<Uint8Array> {
    const { image, findings } = this.#run
    const { clusterSize } = image.layout
    const offset = index < this.#table.length ? refcountBlockOffset(this.#table, index) : 0
    if (offset === 0) return new Uint8Array(clusterSize)
    if (!isBlockAligned(this.#run, this.#table, index)) {
      if (!this.#told) {
        const written = hexOfHalves(this.#table.high(index), (this.#table.low(index) & OFFSET_LOW_MASK) >>> 0)
        findings.say(
          `qcow2: Image is corrupt: Refblock offset 0x${written} unaligned (reftable index: ${index === 0 ? '0' : `0x${hex(index)}`}); ` +
            'further non-fatal corruption events will be suppressed',
        )
      }
      this.#told = true
      throw new BlockError('EIO', `refcount block ${index} is not cluster aligned`)
    }
    if (offset >= UNREADABLE_FROM) throw new BlockError('EIO', `refcount block ${index} is at no offset of a file`)
    return readFileAt(image, offset, clusterSize)
  }
}
