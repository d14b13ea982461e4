// A packed queue over mirrors of its parts. Slots that nobody has taken are read in the order of the ring, each behind its
// own flags, up to the first that is not available; the others belong to the device until it has shown them as used.

import { le32 } from '../../../../protocols/virtio/little-endian.js'
import { availableTurn, PACKED_TURN_MASK, packedEventWanted } from '../../../../protocols/virtio/packed-ring.js'
import type { DescriptorChain } from '../../memory/descriptor-chain.js'
import type { GuestMemory } from '../../memory/guest-memory.js'
import { FETCH_CHAIN, type FetchResult, type QueueState } from '../device-queue.js'
import type { InflightTracker } from '../inflight-tracker.js'
import { PackedDeviceQueue } from '../packed-device-queue.js'
import type { QueuePlaces } from '../queue-layout.js'
import { entriesTaken, type QueueFeatures } from '../queue-state.js'
import { MirroredPart } from './mirrored-part.js'
import { MirroredQueue, trackerOfMirror } from './mirrored-queue.js'

/** A running packed queue. */
export class MirroredPackedQueue extends MirroredQueue {
  private readonly eventIndex: boolean
  private readonly ring: MirroredPart
  private readonly driverEvent: MirroredPart
  private readonly deviceEvent: MirroredPart
  /** Where the driver has been shown used descriptors up to, and how many slots behind that are not its own. */
  private shown: QueueState
  private taken: number
  /** Slots behind those taken that are available, and are in the mirror. */
  private ahead = 0

  constructor(
    memory: GuestMemory,
    places: QueuePlaces,
    features: QueueFeatures,
    state: QueueState,
    id: number,
    tracker?: InflightTracker,
  ) {
    const { size } = places
    const ring = new MirroredPart(memory, places.descriptors, 4)
    const driverEvent = new MirroredPart(memory, places.driver, 4)
    const deviceEvent = new MirroredPart(memory, places.device, 4)
    const parts = {
      size,
      ring: new Uint32Array(ring.buffer),
      driverEvent: new Uint32Array(driverEvent.buffer),
      deviceEvent: new Uint32Array(deviceEvent.buffer),
    }
    super(new PackedDeviceQueue(memory, parts, features, state, id, trackerOfMirror(tracker)), tracker)
    this.eventIndex = features.eventIndex
    this.ring = ring
    this.driverEvent = driverEvent
    this.deviceEvent = deviceEvent
    this.shown = state
    this.taken = entriesTaken(state, size, true)
  }

  fetch(chain: DescriptorChain): FetchResult {
    // A chain of an earlier life has its slots already.
    if (this.inner.earlier > 0) return this.inner.fetch(chain)
    this.look()
    const result = this.inner.fetch(chain)
    if (result !== FETCH_CHAIN) return result
    const slots = this.inner.slotsOf(chain.head)
    this.taken += slots
    // Only a driver that breaks the rules is given what lies behind.
    this.ahead = Math.max(this.ahead - slots, 0)
    return result
  }

  /** The rest of a batch before the flags of its first descriptor, these before what the driver wants (2.8.10). */
  publish(): boolean {
    this.inner.publish()
    const old = this.shown
    const now = this.inner.save()
    const slots = now.usedIndex - old.usedIndex + (now.usedWrap === old.usedWrap ? 0 : this.size)
    if (slots === 0) return false
    this.ring.push(4 * old.usedIndex + 2, 1)
    for (let i = 1; i < slots; i++) this.ring.push(4 * this.slotBehind(old.usedIndex, i) + 2, 2)
    this.ring.store(4 * old.usedIndex + 3)
    this.shown = now
    this.taken -= slots
    this.tracker?.published(now.usedIndex, now.usedWrap)
    const event = le32(this.driverEvent.load(0))
    return packedEventWanted(event, now.usedIndex, now.usedWrap, slots, this.size, this.eventIndex)
  }

  protected look(): void {
    const { usedIndex, usedWrap } = this.shown
    // A driver that offers more than there are slots: the inner queue has to see it.
    if (this.taken >= this.size) this.ring.load(4 * usedIndex + 3)
    while (this.taken + this.ahead < this.size) {
      const behind = this.taken + this.ahead
      const slot = this.slotBehind(usedIndex, behind)
      const wrap = usedIndex + behind < this.size ? usedWrap : !usedWrap
      const rest = le32(this.ring.load(4 * slot + 3)) | 0
      if ((rest & PACKED_TURN_MASK) !== availableTurn(wrap)) return
      this.ring.pull(4 * slot, 3)
      this.ahead++
    }
  }

  protected pushWishes(): void {
    this.deviceEvent.store(0)
  }

  private slotBehind(index: number, count: number): number {
    const slot = index + count
    return slot < this.size ? slot : slot - this.size
  }
}
