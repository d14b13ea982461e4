// A guest behind a vhost-user socket whose driver is the test: it lays out plain split rings, fills buffers and looks at what
// comes back. For devices that are no disks.

import type { HostIpc } from '../../../src/common/host-ipc.js'
import { createDriverQueue } from '../../../src/devices/virtio/driver-queue/create-driver-queue.js'
import type { DriverQueue } from '../../../src/devices/virtio/driver-queue/driver-queue.js'
import { planQueue } from '../../../src/devices/virtio/driver-queue/queue-plan.js'
import { featureSet, VIRTIO_F_VERSION_1 } from '../../../src/protocols/virtio/features.js'
import { GUEST_BASE } from './guest-regions.js'
import { SharedGuest } from './shared-guest.js'

const QUEUE_SIZE = 16
const PAGE = 4096

/** A buffer: a guest address, its length, and whether the device writes to it. */
export type RingBuffer = readonly [address: number, bytes: number, writable: boolean]

/** The guest. */
export class RingGuest {
  readonly shared: SharedGuest
  readonly queues: DriverQueue[] = []
  /** Of memory that no ring uses. */
  readonly free: number

  constructor(ipc: HostIpc, queues: number) {
    this.shared = new SharedGuest(ipc, { queues, queueSize: QUEUE_SIZE, inflight: false })
    this.free = GUEST_BASE + queues * PAGE
  }

  /** Connects and starts all rings with these features of the device. */
  async start(socket: string, features = 0n): Promise<void> {
    const { shared } = this
    await shared.connect(socket)
    const plans = Array.from({ length: shared.options.queues }, (_, index) =>
      planQueue(GUEST_BASE + index * PAGE, QUEUE_SIZE),
    )
    const plain = { packed: false, indirect: false, eventIndex: false, inOrder: false }
    for (const plan of plans) this.queues.push(createDriverQueue(shared.memory, plan, plain))
    shared.useRings(
      plans.map(({ config }) => config),
      features | featureSet(VIRTIO_F_VERSION_1),
    )
    await shared.startRings()
  }

  /** Gives the device a chain of buffers and waits for it; the length that was used. */
  async ask(index: number, buffers: readonly RingBuffer[]): Promise<number> {
    this.offer(index, buffers)
    return this.answered(index)
  }

  /** Gives the device a chain of buffers. */
  offer(index: number, buffers: readonly RingBuffer[]): void {
    const queue = this.queues[index] as DriverQueue
    queue.begin(buffers.length)
    for (const [address, bytes, writable] of buffers) queue.append(address, bytes, writable)
    queue.end()
    queue.publish()
    this.shared.kick(index)
  }

  /** Waits until a chain comes back; the length that was used. */
  async answered(index: number): Promise<number> {
    const queue = this.queues[index] as DriverQueue
    while (queue.pending() === 0) await new Promise((resolve) => setImmediate(resolve))
    queue.reap()
    return queue.usedLength
  }

  /** Guest memory. */
  bytes(address: number, length: number): Uint8Array {
    const [view] = this.shared.memory.views(0, address, length) ?? []
    if (view?.length !== length) throw new Error('no memory of the guest')
    return view
  }

  close(): void {
    this.shared.close()
  }
}
