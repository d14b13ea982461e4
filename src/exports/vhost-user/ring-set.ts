// The rings of one connection: what starts and stops them. A ring runs when all of it is known, it is enabled, and a way to
// kick it has been set (vhost-user.rst, Ring states); it stops when its base is asked for, when it is disabled, and for as
// long as memory is being replaced. To stop is to wait until its requests have ended. Those that the `stop` policy has set
// aside are left for when the ring goes on, where somebody keeps them until then, and answered with their error where not.

import { BlockError } from '../../common/error.js'
import type { HostIpc } from '../../common/host-ipc.js'
import type { QueueConfig } from '../../devices/virtio/queue/queue-layout.js'
import { VHOST_USER_PROTOCOL_F_INFLIGHT_SHMFD } from '../../protocols/vhost-user/messages.js'
import type { VringAddress } from '../../protocols/vhost-user/payloads.js'
import { packedRingBytes } from '../../protocols/virtio/packed-ring.js'
import { availRingBytes, descriptorTableBytes, usedRingBytes } from '../../protocols/virtio/split-ring.js'
import type { BackendDevice } from './backend-device.js'
import { isLogged, ringParts } from './dirty-log/ring-parts.js'
import type { WriteLogging } from './dirty-log/write-logging.js'
import type { InflightMemory } from './inflight/inflight-memory.js'
import type { MemoryTable } from './memory-table.js'
import type { Negotiation } from './negotiation.js'
import { Ring } from './ring.js'
import { decodeBase, encodeBase, ringPosition } from './ring-position.js'

/** What the rings need of their connection. */
export interface RingHost {
  readonly ipc: HostIpc
  readonly device: BackendDevice
  readonly negotiation: Negotiation
  readonly table: MemoryTable
  readonly inflight: InflightMemory | undefined
  readonly logging: WriteLogging
  /** A ring was kicked, or has just been started. */
  kicked(): void
  /** Something is wrong with one ring alone. */
  ringFailed(ring: Ring, error: unknown): void
  /** The driver is to be told of used buffers. */
  callRing(ring: Ring): void
}

/** The rings. */
export class RingSet {
  readonly rings: readonly Ring[]
  /** Whether one has run since the device was at its beginning. */
  ranSinceReset = false
  /** Whether one has run at all. */
  everRan = false

  private readonly host: RingHost

  constructor(host: RingHost) {
    this.host = host
    this.rings = Array.from({ length: host.device.queueCount }, (_, index) => new Ring(host.ipc, index))
  }

  /** Throws EINVAL for a ring that does not exist. */
  get(index: number): Ring {
    const ring = this.rings[index]
    if (ring === undefined) throw new BlockError('EINVAL', `no ring ${index}`)
    return ring
  }

  get anyRunning(): boolean {
    return this.rings.some(({ running }) => running)
  }

  /** Whether a ring runs whose driver has no way to kick. */
  get hasUnkicked(): boolean {
    return this.rings.some(({ running, kickSource }) => running && kickSource === 'polling')
  }

  /** Throws EINVAL for a size that no ring has, EBUSY while the ring runs. */
  setSize(index: number, size: number): void {
    const ring = this.stopped(index)
    const { device, negotiation } = this.host
    if (size < 1 || size > device.queueSizeMax || (!negotiation.packed && (size & (size - 1)) !== 0)) {
      throw new BlockError('EINVAL', `ring ${index}: a size of ${size}`)
    }
    ring.size = size
  }

  /** Throws EINVAL for a base that the ring cannot have, EBUSY while the ring runs. */
  setBase(index: number, base: number): void {
    const ring = this.stopped(index)
    decodeBase(base, ring.size, this.host.negotiation.packed)
    ring.base = base
  }

  /**
   * Throws EINVAL for addresses outside memory or outside the log, EBUSY for others than those of a ring that runs: for
   * that one just its logging begins or ends.
   */
  setAddress(address: VringAddress): void {
    const ring = this.get(address.index)
    const { table, logging, negotiation } = this.host
    const turnsLogging = ring.running && ring.address !== undefined && isSamePlace(ring.address, address)
    if (!turnsLogging) this.stopped(address.index)
    else if (isLogged(address) && !logging.hasLog)
      throw new BlockError('EINVAL', 'a ring is logged, and there is no log')
    // Memory may come later; what cannot be looked at yet is looked at when the ring starts.
    if (table.memory !== undefined && ring.size > 0) {
      const parts = ringParts(address, this.layout(ring.size, address), negotiation.packed)
      if (parts !== undefined) logging.checkRing(parts)
      if (turnsLogging) logging.logRing(ring.index, parts)
    }
    ring.address = address
  }

  /** Starts the ring if it can run now. Throws EINVAL where it was to start and cannot. */
  start(ring: Ring): void {
    const { host } = this
    const { device, negotiation, table, logging } = host
    const { address, size } = ring
    const enabled = ring.enabled || !negotiation.enablesRings
    if (ring.running || !enabled || ring.kickSource === 'none' || address === undefined || size === 0) return
    if (table.memory === undefined || negotiation.features === undefined) return
    const config = this.layout(size, address)
    const parts = ringParts(address, config, negotiation.packed)
    if (parts !== undefined) logging.checkRing(parts)
    const inflight = host.inflight === undefined ? undefined : { memory: host.inflight, index: ring.index }
    this.checkLeft(ring)
    const { state, tracker, heads, lists } = ringPosition({
      memory: table.memory,
      config,
      packed: negotiation.packed,
      base: ring.base,
      knowsRecords: negotiation.has(VHOST_USER_PROTOCOL_F_INFLIGHT_SHMFD),
      inflight,
      left: ring.left,
    })
    this.rewatch(ring)
    logging.logRing(ring.index, parts)
    try {
      negotiation.driverReady()
      device.enableQueue(ring.index, config, state, tracker)
    } catch (error) {
      ring.stopWatching()
      logging.logRing(ring.index, undefined)
      throw error
    }
    ring.running = true
    ring.left = undefined
    this.ranSinceReset = true
    this.everRan = true
    if (heads.length > 0) device.refetch(ring.index, heads, lists)
    // Buffers that were used before, by whoever served the ring then, may not have been told of.
    if (state.usedIndex !== 0 || state.availIndex !== 0) host.callRing(ring)
    host.kicked()
  }

  /** Takes the kicks of the descriptor that the ring has now. */
  rewatch(ring: Ring): void {
    const { host } = this
    ring.startWatching(
      () => host.kicked(),
      (error) => host.ringFailed(ring, error),
    )
  }

  /**
   * Stops the ring once its requests have ended; its base is where it stood. Requests that are set aside are left where they
   * are kept: by default in a record that goes where the ring goes (vhost-user.rst, GET_VRING_BASE).
   */
  async stop(ring: Ring, keeps = this.isRecorded(ring) && this.host.negotiation.recordTravels): Promise<void> {
    const { device, negotiation } = this.host
    ring.stopWatching()
    if (!ring.running) return
    const end = keeps ? await device.suspendQueue(ring.index) : undefined
    const state = end?.state ?? (await device.stopQueue(ring.index))
    if (end !== undefined && end.heads.length > 0) ring.left = end
    ring.base = encodeBase(state, negotiation.packed)
    ring.running = false
    this.host.logging.logRing(ring.index, undefined)
  }

  /** Whether the record of requests in flight has a part for the ring. */
  isRecorded(ring: Ring): boolean {
    return this.host.inflight?.holds(ring.index) === true
  }

  /** Stops every ring that runs, does `change`, and starts them again; those that then cannot run stay off. */
  async whileStopped(change: () => void): Promise<void> {
    const stopped = await this.stopAll(() => true)
    change()
    for (const ring of stopped) {
      try {
        this.start(ring)
      } catch (error) {
        this.host.ringFailed(ring, error)
      }
    }
  }

  /** Stops every ring; those that ran. Whether what is set aside is left, `keeps` says of each; by default as {@link stop}. */
  async stopAll(keeps?: (ring: Ring) => boolean): Promise<Ring[]> {
    const running = this.rings.filter((ring) => ring.running)
    for (const ring of running) await this.stop(ring, keeps?.(ring))
    return running
  }

  /** What is left says the record alone from now on: it is another one. */
  recordReplaced(): void {
    for (const ring of this.rings) ring.left = undefined
  }

  /** A ring that begins anywhere but where it stood is another one, whose driver knows nothing of what was left. */
  private checkLeft(ring: Ring): void {
    const { negotiation, inflight } = this.host
    if (ring.left === undefined || ring.base === encodeBase(ring.left.state, negotiation.packed)) return
    ring.left = undefined
    inflight?.forget(ring.index)
  }

  private stopped(index: number): Ring {
    const ring = this.get(index)
    if (ring.running) throw new BlockError('EBUSY', `ring ${index} is running`)
    return ring
  }

  /** Addresses of the front-end as addresses of the guest. Throws EINVAL for a part that no region holds. */
  private layout(size: number, address: VringAddress): QueueConfig {
    const { packed } = this.host.negotiation
    const place = (what: string, at: bigint, bytes: number): QueueConfig['usedRing'] => {
      const found = this.host.table.translate(at, bytes)
      if (found !== undefined) return found
      throw new BlockError('EINVAL', `ring ${address.index}: its ${what} at 0x${at.toString(16)} lies outside memory`)
    }
    return {
      size,
      descriptorTable: place(
        'descriptors',
        address.descriptor,
        packed ? packedRingBytes(size) : descriptorTableBytes(size),
      ),
      availRing: place('available part', address.available, packed ? 4 : availRingBytes(size)),
      usedRing: place('used part', address.used, packed ? 4 : usedRingBytes(size)),
    }
  }
}

function isSamePlace(a: VringAddress, b: VringAddress): boolean {
  return a.descriptor === b.descriptor && a.used === b.used && a.available === b.available
}
