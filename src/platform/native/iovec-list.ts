// The iovec array of one vectored call (readv(2)): filled anew each time, so that nothing is allocated per call, with the
// address of a buffer asked for once.

import { type Bytes, IoVector } from '../../common/io-vector.js'
import type { Libc } from './libc.js'

/** Most segments of one call. */
export const IOVEC_SEGMENTS = 256

/** One array, good until it is filled again. */
export interface IovecList {
  /** Where the array is. */
  readonly address: number
  /** Describes `bytes`, of at most {@link IOVEC_SEGMENTS} segments; the count of entries. */
  fill(bytes: Bytes): number
}

const TWO_32 = 0x1_0000_0000

/** Makes an array. */
export function createIovecList({ address }: Libc): IovecList {
  const words = new Uint32Array(4 * IOVEC_SEGMENTS)
  // A buffer's memory does not move while it is attached, and a detached one has views of length 0.
  const bases = new WeakMap<ArrayBufferLike, number>()

  function describe(index: number, view: Uint8Array): void {
    const { buffer } = view
    let base = bases.get(buffer)
    if (base === undefined) {
      base = address(view) - view.byteOffset
      bases.set(buffer, base)
    }
    const start = base + view.byteOffset
    words[index] = start >>> 0
    words[index + 1] = Math.floor(start / TWO_32)
    words[index + 2] = view.byteLength
  }

  return {
    address: address(new Uint8Array(words.buffer)),
    fill(bytes) {
      if (!(bytes instanceof IoVector)) {
        describe(0, bytes)
        return 1
      }
      const { buffers } = bytes
      for (let i = 0; i < buffers.length; i++) describe(4 * i, buffers[i] as Uint8Array)
      return buffers.length
    },
  }
}
