// Slices of one L2 table that were read beside the cache, by a scan that looks at each of them once: a scan of a large image
// neither reads table by table in small pieces nor pushes out of the cache what requests need. Slices that the cache has are
// newer; a scan that ran beside a change of the others saw the image before it.

import type { BlockChild } from '../../../io/block-node.js'
import { read } from '../../../io/read.js'
import type { HostOffset } from '../format/layout.js'

/** Most bytes of one read. */
const WINDOW_BYTES = 65536

/** A part of a table. */
export class TableWindow {
  #buffer = new Uint8Array(0)
  #offset = -1
  #bytes = 0

  /** How many slices of `sliceBytes` one read takes at most; below 2 it is of no use. */
  static slices(sliceBytes: number): number {
    return Math.floor(WINDOW_BYTES / sliceBytes)
  }

  /** Shows `bytes` bytes of the file from `offset` on. EIO and others as reading fails; the window is empty then. */
  async load(file: BlockChild, offset: HostOffset, bytes: number): Promise<void> {
    this.#bytes = 0
    if (this.#buffer.length < bytes) this.#buffer = new Uint8Array(WINDOW_BYTES)
    await read(file, offset, this.#buffer.subarray(0, bytes))
    this.#offset = offset
    this.#bytes = bytes
  }

  /** The slice at `offset`; undefined where it is not in the window. */
  viewOf(offset: HostOffset, bytes: number): DataView | undefined {
    const at = offset - this.#offset
    if (at < 0 || at + bytes > this.#bytes) return undefined
    return new DataView(this.#buffer.buffer, at, bytes)
  }
}
