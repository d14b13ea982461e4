// How often each host cluster is referenced, as a check counts it. Counts are as wide as those of the image and packed the
// same way, so that they compare and write as bytes. Memory is taken page by page, where references are, up to a limit.

import { assert } from '../../../common/assert.js'
import { BlockError } from '../../../common/error.js'
import { KiB, MiB } from '../../../common/units.js'
import type { Layout } from '../format/layout.js'
import { readRefcount, writeRefcount } from '../format/refcount-codec.js'

/** Bytes of a page; a refcount block that is smaller is one. */
const MAX_PAGE_BYTES = 4 * KiB
const MAX_BYTES = 1024 * MiB

/** Counts of clusters, 0 where nothing was added. */
export class ReferenceCounts {
  /** In bytes. */
  readonly pageBytes: number
  /** Clusters one page describes. */
  readonly pageEntries: number
  readonly #order: number
  readonly #most: number
  readonly #pages = new Map<number, DataView>()
  #last: { index: number; view: DataView } | undefined

  constructor(layout: Layout) {
    this.pageBytes = Math.min(layout.clusterSize, MAX_PAGE_BYTES)
    this.pageEntries = (this.pageBytes * 8) / layout.refcountBits
    this.#order = layout.refcountOrder
    this.#most = layout.maxRefcount
  }

  get(cluster: number): number {
    const page = Math.floor(cluster / this.pageEntries)
    const view = this.#last?.index === page ? this.#last.view : this.#pages.get(page)
    return view === undefined ? 0 : readRefcount(view, cluster - page * this.pageEntries, this.#order)
  }

  /** Counts one more reference; false where the count is as large as the image can say. ENOMEM at the limit. */
  add(cluster: number): boolean {
    const page = Math.floor(cluster / this.pageEntries)
    const view = this.#page(page)
    const index = cluster - page * this.pageEntries
    const count = readRefcount(view, index, this.#order)
    if (count >= this.#most) return false
    writeRefcount(view, index, this.#order, count + 1)
    return true
  }

  /** Takes one reference back. */
  remove(cluster: number): void {
    const count = this.get(cluster)
    assert(count > 0, 'a reference is taken back that was never counted')
    const page = Math.floor(cluster / this.pageEntries)
    writeRefcount(this.#page(page), cluster - page * this.pageEntries, this.#order, count - 1)
  }

  /** The numbers of the pages that exist, ascending. */
  pages(): number[] {
    return [...this.#pages.keys()].sort((a, b) => a - b)
  }

  /** The packed counts of a page; undefined where all are 0. */
  page(index: number): Uint8Array | undefined {
    const view = this.#pages.get(index)
    return view === undefined ? undefined : new Uint8Array(view.buffer)
  }

  #page(index: number): DataView {
    if (this.#last?.index === index) return this.#last.view
    let view = this.#pages.get(index)
    if (view === undefined) {
      if ((this.#pages.size + 1) * this.pageBytes > MAX_BYTES) {
        throw new BlockError('ENOMEM', 'the references of this image take too much memory to count')
      }
      view = new DataView(new ArrayBuffer(this.pageBytes))
      this.#pages.set(index, view)
    }
    this.#last = { index, view }
    return view
  }
}
