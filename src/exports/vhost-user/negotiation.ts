// What a connection has agreed on: virtio features, whose negotiation the export carries out on the device, and features of
// the protocol. The device's own status is driven from here; the status register of the protocol is the front-end's view.

import { BlockError } from '../../common/error.js'
import {
  VHOST_F_LOG_ALL,
  VHOST_USER_F_PROTOCOL_FEATURES,
  VHOST_USER_PROTOCOL_F_BACKEND_REQ,
  VHOST_USER_PROTOCOL_F_CONFIG,
  VHOST_USER_PROTOCOL_F_CONFIGURE_MEM_SLOTS,
  VHOST_USER_PROTOCOL_F_GET_VRING_BASE_INFLIGHT,
  VHOST_USER_PROTOCOL_F_INBAND_NOTIFICATIONS,
  VHOST_USER_PROTOCOL_F_INFLIGHT_SHMFD,
  VHOST_USER_PROTOCOL_F_LOG_SHMFD,
  VHOST_USER_PROTOCOL_F_MQ,
  VHOST_USER_PROTOCOL_F_REPLY_ACK,
  VHOST_USER_PROTOCOL_F_RESET_DEVICE,
  VHOST_USER_PROTOCOL_F_STATUS,
  VHOST_USER_PROTOCOL_F_XEN_MMAP,
} from '../../protocols/vhost-user/messages.js'
import {
  VIRTIO_CONFIG_S_ACKNOWLEDGE,
  VIRTIO_CONFIG_S_DRIVER,
  VIRTIO_CONFIG_S_DRIVER_OK,
  VIRTIO_CONFIG_S_FEATURES_OK,
  VIRTIO_CONFIG_S_NEEDS_RESET,
} from '../../protocols/virtio/device-status.js'
import {
  featureSet,
  hasFeature,
  VIRTIO_F_RING_PACKED,
  VIRTIO_F_RING_RESET,
  VIRTIO_F_VERSION_1,
} from '../../protocols/virtio/features.js'
import type { BackendDevice } from './backend-device.js'

/** Features of the protocol that are offered only where asked for. */
export interface ProtocolOffer {
  /** Kicks and calls as messages instead of events: far slower, for front-ends that cannot have events. */
  inbandNotifications: boolean
  /** Regions with the fields of Xen. Mappings that only a Xen host can make are refused all the same. */
  xenMappings: boolean
}

/** A front-end that this back-end cannot serve: the connection ends. */
export class UnsuitableFrontEnd extends BlockError {}

/** The agreements of one connection. */
export class Negotiation {
  /** Of the protocol. */
  readonly offeredProtocol: bigint
  protocol = 0n
  /** Of virtio, as the front-end acknowledged them. */
  features: bigint | undefined
  /** The status register of the protocol. */
  status = 0

  private readonly device: BackendDevice

  constructor(device: BackendDevice, offer: ProtocolOffer) {
    this.device = device
    this.offeredProtocol = offeredProtocol(offer)
  }

  /** What GET_FEATURES says. Resetting single rings has no message in this protocol. */
  get offered(): bigint {
    const device = BigInt(this.device.readFeatures(0)) | (BigInt(this.device.readFeatures(1)) << 32n)
    return (device & ~featureSet(VIRTIO_F_RING_RESET)) | featureSet(VHOST_USER_F_PROTOCOL_FEATURES, VHOST_F_LOG_ALL)
  }

  /** Whether a feature of the protocol was agreed. */
  has(bit: number): boolean {
    return hasFeature(this.protocol, bit)
  }

  get packed(): boolean {
    return this.features !== undefined && hasFeature(this.features, VIRTIO_F_RING_PACKED)
  }

  /** Without protocol features a ring needs no message to be enabled. */
  get enablesRings(): boolean {
    return this.features !== undefined && hasFeature(this.features, VHOST_USER_F_PROTOCOL_FEATURES)
  }

  /** Throws EINVAL for what was not offered, UnsuitableFrontEnd for notifications as messages without a channel for them. */
  setProtocol(value: bigint): void {
    if ((value & ~this.offeredProtocol) !== 0n) {
      throw new BlockError('EINVAL', `protocol features 0x${value.toString(16)}, which were not offered`)
    }
    const needs = featureSet(VHOST_USER_PROTOCOL_F_BACKEND_REQ, VHOST_USER_PROTOCOL_F_REPLY_ACK)
    if (hasFeature(value, VHOST_USER_PROTOCOL_F_INBAND_NOTIFICATIONS) && (value & needs) !== needs) {
      throw new UnsuitableFrontEnd('EPROTO', 'in-band notifications without a channel and answers for them')
    }
    // Vhost-user.rst, GET_VRING_BASE: there is nothing to leave requests in.
    if (hasFeature(value, VHOST_USER_PROTOCOL_F_GET_VRING_BASE_INFLIGHT)) {
      if (!hasFeature(value, VHOST_USER_PROTOCOL_F_INFLIGHT_SHMFD)) {
        throw new BlockError(
          'EINVAL',
          'requests are to be left in a record of requests in flight, which was not agreed',
        )
      }
    }
    this.protocol = value
  }

  /**
   * Whether the record of requests in flight goes where the rings go. A front-end says so by GET_VRING_BASE_INFLIGHT; one that
   * cannot log what is written does not move its guest to another host, and keeps the record that it has.
   */
  get recordTravels(): boolean {
    return this.has(VHOST_USER_PROTOCOL_F_GET_VRING_BASE_INFLIGHT) || !this.has(VHOST_USER_PROTOCOL_F_LOG_SHMFD)
  }

  /** Whether {@link setFeatures} with this set would change nothing. */
  isAgreed(value: bigint): boolean {
    return this.features === value && this.device.resetReason === undefined
  }

  /**
   * Negotiates with the device, from its beginning. VHOST_F_LOG_ALL is not its affair. Throws EINVAL for what was not
   * offered, UnsuitableFrontEnd for a driver of the legacy interface. No ring may run.
   */
  async setFeatures(value: bigint): Promise<void> {
    if ((value & ~this.offered) !== 0n) {
      throw new BlockError('EINVAL', `features 0x${value.toString(16)}, which were not offered`)
    }
    if (!hasFeature(value, VIRTIO_F_VERSION_1)) {
      throw new UnsuitableFrontEnd('ENOTSUP', 'the driver uses the legacy interface of virtio; version 1 is needed', {
        hint: 'With QEMU, give the device the option disable-legacy=on.',
      })
    }
    await this.device.reset()
    this.features = value
    this.negotiate()
  }

  /** The device is told that its driver is ready, which it is when the first ring starts. Throws EINVAL before features. */
  driverReady(): void {
    const { device } = this
    if (this.features === undefined) throw new BlockError('EINVAL', 'a ring is started before features were agreed')
    if (device.readStatus() === 0) this.negotiate()
    device.writeStatus(STARTED)
  }

  /** Back to the beginning; what the front-end acknowledged is kept, since not every one says it again. */
  async resetDevice(): Promise<void> {
    await this.device.reset()
    this.status = 0
  }

  /** What GET_STATUS says: what the front-end has set, as far as it is so, and whether the device needs a reset. */
  readStatus(): number {
    const broken = this.device.resetReason === undefined ? 0 : VIRTIO_CONFIG_S_NEEDS_RESET
    const agreed = this.features === undefined ? this.status & ~VIRTIO_CONFIG_S_FEATURES_OK : this.status
    return agreed | broken
  }

  private negotiate(): void {
    const { device } = this
    const features = (this.features ?? 0n) & ~featureSet(VHOST_USER_F_PROTOCOL_FEATURES)
    device.writeStatus(VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER)
    device.writeFeatures(0, Number(features & 0xffff_ffffn))
    device.writeFeatures(1, Number(features >> 32n))
    device.writeStatus(STARTED & ~VIRTIO_CONFIG_S_DRIVER_OK)
    if ((device.readStatus() & VIRTIO_CONFIG_S_FEATURES_OK) !== 0) return
    this.features = undefined
    throw new BlockError('EINVAL', `the device does not run with features 0x${features.toString(16)}`)
  }
}

const STARTED =
  VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER | VIRTIO_CONFIG_S_FEATURES_OK | VIRTIO_CONFIG_S_DRIVER_OK

function offeredProtocol(offer: ProtocolOffer): bigint {
  const bits = [
    VHOST_USER_PROTOCOL_F_MQ,
    VHOST_USER_PROTOCOL_F_LOG_SHMFD,
    VHOST_USER_PROTOCOL_F_REPLY_ACK,
    VHOST_USER_PROTOCOL_F_BACKEND_REQ,
    VHOST_USER_PROTOCOL_F_CONFIG,
    VHOST_USER_PROTOCOL_F_INFLIGHT_SHMFD,
    VHOST_USER_PROTOCOL_F_RESET_DEVICE,
    VHOST_USER_PROTOCOL_F_CONFIGURE_MEM_SLOTS,
    VHOST_USER_PROTOCOL_F_STATUS,
    VHOST_USER_PROTOCOL_F_GET_VRING_BASE_INFLIGHT,
  ]
  if (offer.inbandNotifications) bits.push(VHOST_USER_PROTOCOL_F_INBAND_NOTIFICATIONS)
  if (offer.xenMappings) bits.push(VHOST_USER_PROTOCOL_F_XEN_MMAP)
  return featureSet(...bits)
}
