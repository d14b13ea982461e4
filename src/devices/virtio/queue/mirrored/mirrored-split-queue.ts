// A split queue over mirrors of its parts. The driver shows what it makes available by its index alone: where that has moved
// the entries and the table are read anew, behind the index.

import { le16 } from '../../../../protocols/virtio/little-endian.js'
import {
  AVAIL_RING_WORD,
  availEventWord,
  passesEvent,
  RING_FLAGS_WORD,
  RING_INDEX_WORD,
  ringDistance,
  USED_RING_WORD32,
  usedEventWord,
  VIRTQ_AVAIL_F_NO_INTERRUPT,
  VIRTQ_DESC_BYTES,
} from '../../../../protocols/virtio/split-ring.js'
import type { DescriptorChain } from '../../memory/descriptor-chain.js'
import type { GuestMemory } from '../../memory/guest-memory.js'
import type { FetchResult, QueueState } from '../device-queue.js'
import type { InflightTracker } from '../inflight-tracker.js'
import type { QueuePlaces } from '../queue-layout.js'
import type { QueueFeatures } from '../queue-state.js'
import { SplitDeviceQueue } from '../split-device-queue.js'
import { MirroredPart } from './mirrored-part.js'
import { MirroredQueue, trackerOfMirror } from './mirrored-queue.js'

/** Halves of an element of the used ring. */
const ELEMENT = 4

/** A running split queue. */
export class MirroredSplitQueue extends MirroredQueue {
  private readonly eventIndex: boolean
  private readonly table: MirroredPart
  private readonly avail: MirroredPart
  private readonly used: MirroredPart
  /** The driver's index as it was when entries and table were read, as it stands in memory. */
  private seen: number
  /** The index the driver has been shown. */
  private shown: number

  constructor(
    memory: GuestMemory,
    places: QueuePlaces,
    features: QueueFeatures,
    state: QueueState,
    id: number,
    tracker?: InflightTracker,
  ) {
    const { size } = places
    const table = new MirroredPart(memory, places.descriptors, 4)
    const avail = new MirroredPart(memory, places.driver, 2)
    const used = new MirroredPart(memory, places.device, 2)
    const parts = {
      size,
      table: new Uint32Array(table.buffer),
      avail: new Uint16Array(avail.buffer),
      used: new Uint16Array(used.buffer),
      used32: new Uint32Array(used.buffer),
    }
    super(new SplitDeviceQueue(memory, parts, features, state, id, trackerOfMirror(tracker)), tracker)
    this.eventIndex = features.eventIndex
    this.table = table
    this.avail = avail
    this.used = used
    this.shown = state.usedIndex
    this.seen = avail.load(RING_INDEX_WORD)
    this.pullChains()
  }

  fetch(chain: DescriptorChain): FetchResult {
    this.look()
    return this.inner.fetch(chain)
  }

  /** Elements before the index, the index before what the driver wants (2.7.7.2, 2.7.8.2). */
  publish(): boolean {
    this.inner.publish()
    const old = this.shown
    const now = this.inner.save().usedIndex
    if (now === old) return false
    this.pushElements(old, ringDistance(old, now))
    this.used.store(RING_INDEX_WORD)
    this.shown = now
    this.tracker?.published(now, false)
    if (this.eventIndex) return passesEvent(le16(this.avail.load(usedEventWord(this.size))), now, old)
    return (le16(this.avail.load(RING_FLAGS_WORD)) & VIRTQ_AVAIL_F_NO_INTERRUPT) === 0
  }

  protected look(): void {
    const index = this.avail.load(RING_INDEX_WORD)
    if (index === this.seen) return
    this.seen = index
    this.pullChains()
  }

  protected pushWishes(): void {
    this.used.store(this.eventIndex ? availEventWord(this.size) : RING_FLAGS_WORD)
  }

  private pullChains(): void {
    this.avail.pull(AVAIL_RING_WORD, this.size)
    this.table.pull(0, (this.size * VIRTQ_DESC_BYTES) / 4)
  }

  private pushElements(from: number, count: number): void {
    const start = from & (this.size - 1)
    const first = Math.min(count, this.size - start)
    const origin = 2 * USED_RING_WORD32
    this.used.push(origin + ELEMENT * start, ELEMENT * first)
    this.used.push(origin, ELEMENT * (count - first))
  }
}
