// One virtio-blk request from fetch to its used element: a pooled record with its chain, its header and the two callbacks
// of a backend that answers later, bound once.

import { decodeBlkHeader, VIRTIO_BLK_HEADER_BYTES, VIRTIO_BLK_T_BARRIER } from '../../../protocols/virtio/blk.js'
import { le32 } from '../../../protocols/virtio/little-endian.js'
import type { Lane } from '../core/lane.js'
import { DescriptorChain } from '../memory/descriptor-chain.js'
import type { DeviceQueue } from '../queue/device-queue.js'

/** Who hears how a request ended. */
export interface BlkRequestOwner {
  done(request: BlkRequest): void
  failed(request: BlkRequest, error: unknown): void
}

/** A request. Owned by its device; the pool takes it back when its head is returned. */
export class BlkRequest {
  readonly chain = new DescriptorChain()
  /** Without the barrier flag of old drivers. */
  type = 0
  sectorHigh = 0
  sectorLow = 0
  /** Bytes of the writable data that a good end has filled, from the first on. */
  filled = 0
  lane: Lane
  /** The life of the queue it came from; one that has ended is not touched any more. */
  queue: DeviceQueue | undefined
  readonly onDone: () => void
  readonly onFailed: (error: unknown) => void

  constructor(owner: BlkRequestOwner, lane: Lane) {
    this.lane = lane
    this.onDone = () => owner.done(this)
    this.onFailed = (error) => owner.failed(this, error)
  }

  /** Writable bytes before the status byte. */
  get dataIn(): number {
    return this.chain.writableBytes - 1
  }

  /** Readable bytes behind the header. */
  get dataOut(): number {
    return this.chain.readableBytes - VIRTIO_BLK_HEADER_BYTES
  }
}

const scratch = new Uint8Array(VIRTIO_BLK_HEADER_BYTES)
const scratchView = new DataView(scratch.buffer)

/**
 * Reads the header, each byte once, however it is split (virtio 1.2, 2.7.4.1). The reason to ask for a reset where there
 * is no header or no place for a status; there is no other way to tell the driver.
 */
export function parseBlkRequest(request: BlkRequest): string | undefined {
  const { chain } = request
  if (chain.readableBytes < VIRTIO_BLK_HEADER_BYTES) return `request header of ${chain.readableBytes} bytes`
  if (chain.writableBytes === 0) return 'request without a status byte'
  request.filled = 0
  const region = chain.headRegion(VIRTIO_BLK_HEADER_BYTES)
  if (region !== undefined) {
    const word = chain.headStart() >>> 2
    request.type = le32(region.words[word] as number)
    request.sectorLow = le32(region.words[word + 2] as number)
    request.sectorHigh = le32(region.words[word + 3] as number)
  } else {
    chain.gather(0, scratch)
    const header = decodeBlkHeader(scratchView, 0)
    request.type = header.type
    request.sectorLow = header.sectorLow
    request.sectorHigh = header.sectorHigh
  }
  request.type = (request.type & ~VIRTIO_BLK_T_BARRIER) >>> 0
  return undefined
}

/** Bytes for the used element (virtio 1.2, 2.7.8.2): a prefix of the writable bytes that is known to be written. */
export function usedLength(request: BlkRequest): number {
  const data = request.dataIn
  return request.filled === data ? data + 1 : request.filled
}
