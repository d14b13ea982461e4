// memory: a disk held in this process, sparse, gone when its node is closed. For tests, and where there is no file system.

import { BDRV_BLOCK_DATA, BDRV_BLOCK_OFFSET_VALID, BDRV_BLOCK_ZERO } from '../common/block-status.js'
import { BlockError } from '../common/error.js'
import {
  BDRV_REQ_FUA,
  BDRV_REQ_MAY_UNMAP,
  BDRV_REQ_NO_FALLBACK,
  BDRV_REQ_WRITE_UNCHANGED,
  BDRV_REQ_ZERO_WRITE,
} from '../common/request.js'
import type { Offset } from '../common/units.js'
import { defineDriver, type OpenedNode } from '../global-state/driver.js'
import { sizeOption } from '../global-state/options/option-schema.js'
import type { BlockDriverState } from '../io/block-node.js'
import type { NodeIo, StatusExtent, TruncateOptions } from '../io/node-io.js'
import { ChunkStore } from './memory/chunk-store.js'

export { CHUNK_BYTES, type ChunkExtent, ChunkStore } from './memory/chunk-store.js'

const WRITE_FLAGS = BDRV_REQ_FUA | BDRV_REQ_WRITE_UNCHANGED
const COPY_PIECE = 65536

/** What an open memory node keeps. Tests may read and write the store behind the node's back. */
export interface MemoryState {
  readonly store: ChunkStore
}

/** Holds data in memory; `size` gives its length, zero by default. */
export const memoryDriver = defineDriver({
  name: 'memory',
  kind: 'protocol',
  options: { size: sizeOption({ default: 0, description: 'length of the disk at the start' }) },
  strongOptions: ['size'],
  open(context, options): OpenedNode<MemoryState> {
    return openStore(new ChunkStore(options.size), context.node)
  },
  close({ store }) {
    store.clear()
  },
  hasZeroInit: () => true,
})

/** The store of each open node, so that a copy between two memory nodes finds its source. */
const stores = new WeakMap<NodeIo, ChunkStore>()

/** Everything a node over `store` has; for drivers that lend their own store. The store outlives the node. */
export function openStore(store: ChunkStore, node: BlockDriverState): OpenedNode<MemoryState> {
  const io = storeIo(store, node)
  stores.set(io, store)
  return {
    io,
    state: { store },
    writeFlags: WRITE_FLAGS,
    zeroFlags: WRITE_FLAGS | BDRV_REQ_MAY_UNMAP | BDRV_REQ_NO_FALLBACK,
    truncateFlags: BDRV_REQ_ZERO_WRITE,
  }
}

function storeIo(store: ChunkStore, node: BlockDriverState): NodeIo {
  return {
    length: () => store.length,
    read(offset, into) {
      store.read(offset, into)
    },
    write(offset, data) {
      if (offset + data.length > store.length) store.resize(offset + data.length)
      store.write(offset, data)
    },
    writeZeroes(offset, bytes) {
      if (offset + bytes > store.length) store.resize(offset + bytes)
      store.zero(offset, bytes)
    },
    discard(offset, bytes) {
      store.discard(offset, bytes)
    },
    flush() {},
    blockStatus: (offset, bytes) => storeStatus(store, node, offset, bytes),
    truncate(length, options) {
      truncateStore(store, length, options)
    },
    copyRangeFrom: (offset, target, targetOffset, bytes, flags) =>
      target.copyFrom({ node }, offset, targetOffset, bytes, flags),
    copyRangeTo(source, sourceOffset, offset, bytes) {
      const from = stores.get(source.node.io)
      if (from === undefined)
        throw new BlockError('ENOTSUP', 'the source of the copy is not in memory', { op: 'copy-range' })
      copyStore(from, sourceOffset, store, offset, bytes)
    },
    allocatedSize: () => store.allocatedBytes,
  }
}

function storeStatus(store: ChunkStore, node: BlockDriverState, offset: Offset, bytes: number): StatusExtent {
  const extent = store.extent(offset, bytes)
  if (!extent.allocated) return { bits: BDRV_BLOCK_ZERO, bytes: extent.bytes }
  return { bits: BDRV_BLOCK_DATA | BDRV_BLOCK_OFFSET_VALID, bytes: extent.bytes, map: offset, file: node }
}

function truncateStore(store: ChunkStore, length: Offset, options: TruncateOptions): void {
  if (options.preallocation !== 'off') {
    throw new BlockError('ENOTSUP', `preallocation mode '${options.preallocation}' is not supported in memory`, {
      op: 'truncate',
    })
  }
  store.resize(length)
}

function copyStore(from: ChunkStore, fromOffset: Offset, to: ChunkStore, toOffset: Offset, bytes: number): void {
  if (toOffset + bytes > to.length) to.resize(toOffset + bytes)
  if (from === to && fromOffset < toOffset + bytes && toOffset < fromOffset + bytes) {
    moveWithin(to, fromOffset, toOffset, bytes)
    return
  }
  const piece = new Uint8Array(Math.min(bytes, COPY_PIECE))
  let done = 0
  while (done < bytes) {
    const extent = from.extent(fromOffset + done, bytes - done)
    const part = extent.allocated ? Math.min(extent.bytes, piece.length) : extent.bytes
    if (extent.allocated) {
      const view = part === piece.length ? piece : piece.subarray(0, part)
      from.read(fromOffset + done, view)
      to.write(toOffset + done, view)
    } else {
      to.zero(toOffset + done, part)
    }
    done += part
  }
}

/** Copies between overlapping ranges, from the end that is not overwritten before it is read. */
function moveWithin(store: ChunkStore, fromOffset: Offset, toOffset: Offset, bytes: number): void {
  const piece = new Uint8Array(Math.min(bytes, COPY_PIECE))
  const backwards = toOffset > fromOffset
  for (let done = 0; done < bytes; ) {
    const part = Math.min(piece.length, bytes - done)
    const at = backwards ? bytes - done - part : done
    const view = piece.subarray(0, part)
    store.read(fromOffset + at, view)
    store.write(toOffset + at, view)
    done += part
  }
}
