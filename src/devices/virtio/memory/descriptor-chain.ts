// The buffers of one request as a list of (region, start, length): no view is made until somebody wants the bytes, and
// nothing here looks at the descriptor table again. A chain is reused; it is good from fetch until its head is returned.

import { type Bytes, IoVector } from '../../../common/io-vector.js'
import { highHalf, lowHalf } from '../../../common/units.js'
import { VIRTQ_DESC_F_WRITE } from '../../../protocols/virtio/split-ring.js'
import { type GuestRegion, type PieceSink, viewOf } from './guest-memory.js'
import type { WriteLog } from './write-log.js'

/** Readable segments first, then writable ones (virtio 1.2, 2.7.4.2); no segment is empty. */
export class DescriptorChain implements PieceSink {
  /** Index of the first descriptor; what goes into the used ring. */
  head = 0
  segments = 0
  /** How many of the segments the device reads. */
  readableSegments = 0
  readableBytes = 0
  writableBytes = 0
  /** A descriptor of length 0 was in the chain, which the standard does not allow (virtio 1.2, 2.7.13.1). */
  hasEmptyBuffer = false
  /** A writable descriptor was in the chain: no readable one may follow. */
  writing = false

  private readonly regions: GuestRegion[] = []
  private readonly starts: number[] = []
  private readonly lengths: number[] = []

  /** Begins anew with `head`. */
  begin(head: number): void {
    this.head = head
    this.segments = 0
    this.readableSegments = 0
    this.readableBytes = 0
    this.writableBytes = 0
    this.hasEmptyBuffer = false
    this.writing = false
  }

  /** Appends a segment; {@link markReadable} and {@link markWritable} say afterwards what the buffer was. */
  piece(region: GuestRegion, start: number, bytes: number): void {
    const index = this.segments
    this.segments = index + 1
    if (index === this.regions.length) {
      this.regions.push(region)
      this.starts.push(start)
      this.lengths.push(bytes)
      return
    }
    this.regions[index] = region
    this.starts[index] = start
    this.lengths[index] = bytes
  }

  /** What was appended last is a buffer of `bytes` the device reads. */
  markReadable(bytes: number): void {
    this.readableSegments = this.segments
    this.readableBytes += bytes
  }

  /** What was appended last is a buffer of `bytes` the device writes. */
  markWritable(bytes: number): void {
    this.writableBytes += bytes
  }

  /**
   * The region of the first segment where it is readable, has at least `bytes` and starts at a word below 2^32, so that
   * shifts and masks are exact; else undefined.
   */
  headRegion(bytes: number): GuestRegion | undefined {
    if (this.readableSegments === 0 || (this.lengths[0] as number) < bytes) return undefined
    const start = this.starts[0] as number
    return start <= 0xffff_ffff && (start & 3) === 0 ? this.regions[0] : undefined
  }

  /** Start of the first segment in its region. */
  headStart(): number {
    return this.starts[0] as number
  }

  /** The region of segment `index`: for those who touch memory without a view of it, see {@link segmentStart}. */
  segmentRegion(index: number): GuestRegion {
    return this.regions[index] as GuestRegion
  }

  /** Where segment `index` starts in its region. */
  segmentStart(index: number): number {
    return this.starts[index] as number
  }

  /** Bytes of segment `index`. */
  segmentBytes(index: number): number {
    return this.lengths[index] as number
  }

  /** Copies readable bytes from `skip` on into `into`, each read once; how many there were. */
  gather(skip: number, into: Uint8Array): number {
    const bytes = Math.min(into.length, this.readableBytes - skip)
    let done = 0
    let position = skip
    for (let i = 0; i < this.readableSegments && done < bytes; i++) {
      const length = this.lengths[i] as number
      if (position < length) {
        const part = Math.min(length - position, bytes - done)
        const region = this.regions[i] as GuestRegion
        into.set(viewOf(region, (this.starts[i] as number) + position, part), done)
        done += part
        position = 0
      } else {
        position -= length
      }
    }
    return done
  }

  /** `bytes` readable bytes from `skip` on, as the guest's own memory. */
  readable(skip: number, bytes: number): Bytes {
    return this.view(0, skip, bytes)
  }

  /** `bytes` writable bytes from `skip` on, as the guest's own memory. */
  writable(bytes: number, skip = 0): Bytes {
    return this.view(this.readableSegments, skip, bytes)
  }

  /** How many views {@link readable} makes for the same bytes. */
  countReadable(skip: number, bytes: number): number {
    return this.count(0, skip, bytes)
  }

  /** How many views {@link writable} makes for the same bytes. */
  countWritable(bytes: number): number {
    return this.count(this.readableSegments, 0, bytes)
  }

  /** Writes the last writable byte of the chain; there must be one. */
  writeLastByte(value: number): void {
    const last = this.segments - 1
    const region = this.regions[last] as GuestRegion
    region.bytes[(this.starts[last] as number) + (this.lengths[last] as number) - 1] = value
  }

  /** Tells `log` of every segment that the device writes. */
  tellWritable(log: WriteLog): void {
    for (let i = this.readableSegments; i < this.segments; i++) {
      log.buffer((this.regions[i] as GuestRegion).base + (this.starts[i] as number), this.lengths[i] as number)
    }
  }

  /** Its buffers as descriptors of four words each: address, length, flags; one for each segment. */
  descriptors(): Uint32Array {
    const words = new Uint32Array(4 * this.segments)
    for (let i = 0; i < this.segments; i++) {
      const address = (this.regions[i] as GuestRegion).base + (this.starts[i] as number)
      words[4 * i] = lowHalf(address)
      words[4 * i + 1] = highHalf(address)
      words[4 * i + 2] = this.lengths[i] as number
      words[4 * i + 3] = i < this.readableSegments ? 0 : VIRTQ_DESC_F_WRITE << 16
    }
    return words
  }

  private count(first: number, skip: number, bytes: number): number {
    const end = skip + bytes
    let count = 0
    let position = 0
    for (let index = first; index < this.segments && position < end; index++) {
      position += this.lengths[index] as number
      if (position > skip) count++
    }
    return count
  }

  private view(first: number, skip: number, bytes: number): Bytes {
    let index = first
    let start = skip
    while (index < this.segments && start >= (this.lengths[index] as number)) {
      start -= this.lengths[index] as number
      index++
    }
    if (bytes === 0 || index === this.segments) return new Uint8Array(0)
    if ((this.lengths[index] as number) - start >= bytes) {
      return viewOf(this.regions[index] as GuestRegion, (this.starts[index] as number) + start, bytes)
    }
    const views: Uint8Array[] = []
    for (let left = bytes; left > 0; index++) {
      const part = Math.min((this.lengths[index] as number) - start, left)
      views.push(viewOf(this.regions[index] as GuestRegion, (this.starts[index] as number) + start, part))
      left -= part
      start = 0
    }
    return new IoVector(views)
  }
}
