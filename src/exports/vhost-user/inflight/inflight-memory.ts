// The record of requests in flight that outlives the back-end (vhost-user.rst, Inflight I/O tracking): memory made by the
// back-end, kept by the front-end, one part for each ring. Only this library writes it, but it comes back from outside.

import { BlockError } from '../../../common/error.js'
import type { HostIpc, SharedMapping } from '../../../common/host-ipc.js'
import { alignUp } from '../../../common/units.js'
import type { InflightDescription } from '../../../protocols/vhost-user/shared-area.js'
import { packedRecordBytes } from './packed-record.js'
import { VERSION_WORD } from './record-head.js'
import { splitRecordBytes } from './split-record.js'

/** Parts begin at multiples of this. */
const PART_ALIGNMENT = 64
/** Most entries of a ring. */
const MAX_QUEUE_SIZE = 32768

/** What the record is for. */
export interface InflightShape {
  queues: number
  queueSize: number
  packed: boolean
}

/** A record that is mapped. */
export class InflightMemory {
  readonly shape: InflightShape
  private readonly mapping: SharedMapping

  private constructor(mapping: SharedMapping, shape: InflightShape) {
    this.mapping = mapping
    this.shape = shape
  }

  /** A new, empty record, with the descriptor to hand out, which is the caller's to close. */
  static create(ipc: HostIpc, shape: InflightShape): { memory: InflightMemory; fd: number; bytes: number } {
    checkShape(shape)
    const bytes = shape.queues * partBytes(shape)
    const fd = ipc.createMemory('blockgraph-inflight', bytes)
    try {
      return { memory: new InflightMemory(ipc.map(fd, 0, bytes), shape), fd, bytes }
    } catch (error) {
      ipc.close(fd)
      throw error
    }
  }

  /** Maps the record that a front-end has kept. Throws EINVAL where it is too small for what it says. The descriptor stays the caller's. */
  static adopt(ipc: HostIpc, fd: number, described: InflightDescription, packed: boolean): InflightMemory {
    const { queues, queueSize, mmapSize, mmapOffset } = described
    const shape = { queues, queueSize, packed }
    checkShape(shape)
    const bytes = queues * partBytes(shape)
    const info = ipc.describe(fd)
    if (!info.isFile) throw new BlockError('EINVAL', 'the record of requests in flight is no memory')
    if (mmapSize < BigInt(bytes) || mmapOffset + BigInt(bytes) > BigInt(info.size)) {
      throw new BlockError('EINVAL', `a record of requests in flight of less than ${bytes} bytes`)
    }
    // The record is this library's own, which is sealed; another could be cut under it.
    if (!info.cannotShrink) throw new BlockError('EPERM', 'a record of requests in flight that could be made shorter')
    return new InflightMemory(ipc.map(fd, Number(mmapOffset), bytes), shape)
  }

  /** Whether it has a part for the ring. */
  holds(ring: number): boolean {
    return ring < this.shape.queues
  }

  /** The part of one ring; undefined for a ring it has no room for. */
  part(ring: number): ArrayBuffer | undefined {
    if (!this.holds(ring)) return undefined
    const bytes = partBytes(this.shape)
    return this.mapping.view(ring * bytes, bytes)
  }

  /** The front-end knows where a ring stands that has nothing in flight: its part begins anew with its next life. */
  forget(ring: number): void {
    const part = this.part(ring)
    if (part !== undefined) Atomics.store(new Uint16Array(part), VERSION_WORD, 0)
  }

  /** Ends it. */
  unmap(): void {
    this.mapping.unmap()
  }
}

function partBytes({ queueSize, packed }: InflightShape): number {
  return alignUp(packed ? packedRecordBytes(queueSize) : splitRecordBytes(queueSize), PART_ALIGNMENT)
}

function checkShape({ queues, queueSize }: InflightShape): void {
  if (queues < 1 || queues > 1024 || queueSize < 1 || queueSize > MAX_QUEUE_SIZE) {
    throw new BlockError('EINVAL', `a record of requests in flight for ${queues} rings of ${queueSize} entries`)
  }
}
