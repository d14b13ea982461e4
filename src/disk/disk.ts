// The five-line way: one object for one open image, on a graph of its own or of the caller's. Everything here is said in terms
// of the full interface; whoever needs more finds `graph`, `backend` and `node` on it.

import {
  BDRV_BLOCK_ALLOCATED,
  BDRV_BLOCK_DATA,
  BDRV_BLOCK_OFFSET_VALID,
  BDRV_BLOCK_ZERO,
} from '../common/block-status.js'
import { BlockError } from '../common/error.js'
import { type Bytes, IoVector } from '../common/io-vector.js'
import { BDRV_REQUEST_MAX_BYTES } from '../common/limits.js'
import type { Preallocation } from '../common/option-names.js'
import { BDRV_REQ_FUA, BDRV_REQ_MAY_UNMAP } from '../common/request.js'
import type { Offset } from '../common/units.js'
import type { BlockBackend } from '../global-state/backend.js'
import type { BlockGraph } from '../global-state/graph.js'
import { dropHold } from '../global-state/life/close.js'
import type { MainLoop } from '../global-state/main-loop.js'
import type { NodeState } from '../global-state/node-state.js'
import { checkedRange } from './range.js'

/** Every call takes a signal: it ends a request that is still held back at once (ECANCELED), and is a hint after that. */
export interface DiskCall {
  signal?: AbortSignal
}

/** A run of bytes with one status. */
export interface Extent {
  offset: Offset
  /** In bytes, greater than 0. */
  bytes: number
  /** Some layer stores data for it. */
  data: boolean
  /** It reads as zero. */
  zero: boolean
  /** Some layer of the chain, and not the absence of all, decides what is read. */
  allocated: boolean
  /** Where the bytes stand in the file of the layer, if they stand there as they are. */
  map?: Offset
}

/** What a {@link Disk} stands on, and what of it it closes. */
export interface DiskParts {
  graph: BlockGraph
  backend: BlockBackend
  /** The node that was opened for the disk. Its hold is dropped at close. */
  opened: NodeState
  /** The graph was made for this disk: at close all holds on its nodes are dropped. */
  ownsGraph: boolean
}

/** An open image. `await using` closes it, or {@link Disk.close} does. */
export class Disk implements AsyncDisposable {
  readonly graph: BlockGraph
  readonly backend: BlockBackend
  readonly #parts: DiskParts
  #closing: Promise<void> | undefined

  /** Made by `openDisk`. */
  constructor(parts: DiskParts) {
    this.graph = parts.graph
    this.backend = parts.backend
    this.#parts = parts
  }

  /** The node at the root. */
  get node(): NodeState {
    const { node } = this.backend
    if (node === undefined) throw new BlockError('ENOMEDIUM', 'the disk is closed')
    return node
  }

  /** Length in bytes. */
  get size(): Offset {
    return this.backend.length
  }

  /** Reads `length` bytes at `offset` into a new buffer, or fills the buffer given. EIO beyond the end. */
  async read(offset: Offset, target: number | Uint8Array, call: DiskCall = {}): Promise<Uint8Array> {
    const into = typeof target === 'number' ? allocate(target) : target
    if (!(into instanceof Uint8Array)) throw notBytes('read')
    await this.backend.read(offset, into, call)
    return into
  }

  /** Writes `data` at `offset`; with `fua` it is durable when the promise resolves. */
  write(offset: Offset, data: Bytes, call: DiskCall & { fua?: boolean } = {}): Promise<void> {
    if (!(data instanceof Uint8Array || data instanceof IoVector)) return Promise.reject(notBytes('write'))
    return this.backend.write(offset, data, { ...call, flags: call.fua === true ? BDRV_REQ_FUA : 0 })
  }

  /** Makes a range read as zero, giving its space back where `mayUnmap` allows. */
  writeZeroes(offset: Offset, bytes: number, call: DiskCall & { mayUnmap?: boolean } = {}): Promise<void> {
    return this.backend.writeZeroes(offset, bytes, { ...call, flags: call.mayUnmap === true ? BDRV_REQ_MAY_UNMAP : 0 })
  }

  /** Says that nobody needs a range any more. What it reads as afterwards is not defined. */
  discard(offset: Offset, bytes: number, call: DiskCall = {}): Promise<void> {
    return this.backend.discard(offset, bytes, call)
  }

  /** Resolves when everything written before is durable. */
  flush(call: DiskCall = {}): Promise<void> {
    return this.backend.flush(call)
  }

  /** Changes the length. Shrinking throws away what lies behind the new end; what is gained reads as zero. */
  resize(length: Offset, call: DiskCall & { preallocation?: Preallocation } = {}): Promise<void> {
    const { preallocation = 'off', ...rest } = call
    return this.backend.truncate(length, { ...rest, truncate: { preallocation } })
  }

  /** The extents of a range (by default of the whole disk), in order and without gaps. EINVAL beyond the end. */
  async *blockStatus(offset: Offset = 0, bytes?: number, call: DiskCall = {}): AsyncGenerator<Extent> {
    const { end } = checkedRange(this, offset, bytes === undefined ? this.size : offset + bytes, 'block-status')
    for (let at = offset; at < end; ) {
      const status = await this.backend.blockStatus(at, end - at, call)
      // The disk has become shorter meanwhile.
      if (status.bytes === 0) return
      yield toExtent(at, status)
      at += status.bytes
    }
  }

  /**
   * Flushes and closes; safe to call twice. Requests still held reject with ECANCELED, those in flight are waited for. What
   * others use of the graph stays open. Rejects with an error of the last flush, everything closed.
   */
  close(): Promise<void> {
    this.#closing ??= this.graph.mainLoop((main) => closeParts(main, this.#parts), 'Disk.close')
    return this.#closing
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }
}

async function closeParts(main: MainLoop, { graph, backend, opened, ownsGraph }: DiskParts): Promise<void> {
  const errors: unknown[] = []
  const keep = (error: unknown) => errors.push(error)
  await backend.close(main).catch(keep)
  // An edit of the graph may have put others above the node, or closed it.
  for (const node of ownsGraph ? [...graph.nodes.values()] : [opened]) {
    const holds = ownsGraph ? node.holds : Math.min(node.holds, 1)
    for (let dropped = 0; dropped < holds; dropped++) await dropHold(main, node).catch(keep)
  }
  if (errors.length > 0) throw errors[0]
}

function allocate(length: number): Uint8Array {
  if (!Number.isSafeInteger(length) || length < 0 || length > BDRV_REQUEST_MAX_BYTES) {
    throw new BlockError('EINVAL', `cannot read ${length} bytes at once`, { op: 'read' })
  }
  return new Uint8Array(length)
}

/** Code without types may hand in anything. */
function notBytes(op: string): BlockError {
  return new BlockError('EINVAL', 'a disk takes bytes: a Uint8Array or an IoVector', { op })
}

function toExtent(offset: Offset, status: { bits: number; bytes: number; map?: Offset }): Extent {
  const { bits, bytes, map } = status
  const extent: Extent = {
    offset,
    bytes,
    data: (bits & BDRV_BLOCK_DATA) !== 0,
    zero: (bits & BDRV_BLOCK_ZERO) !== 0,
    allocated: (bits & BDRV_BLOCK_ALLOCATED) !== 0,
  }
  if ((bits & BDRV_BLOCK_OFFSET_VALID) !== 0 && map !== undefined) extent.map = map
  return extent
}
