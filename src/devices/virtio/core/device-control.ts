// Device status and feature negotiation (virtio 1.2, 2.1, 2.2 and 3.1), the same for every device. A driver moves forward
// by setting bits; only a reset goes back. What comes out of order is ignored and counted.

import {
  VIRTIO_CONFIG_S_ACKNOWLEDGE,
  VIRTIO_CONFIG_S_DRIVER,
  VIRTIO_CONFIG_S_DRIVER_OK,
  VIRTIO_CONFIG_S_FAILED,
  VIRTIO_CONFIG_S_FEATURES_OK,
  VIRTIO_CONFIG_S_NEEDS_RESET,
} from '../../../protocols/virtio/device-status.js'
import {
  type FeatureSet,
  featureWindow,
  hasFeature,
  VIRTIO_F_VERSION_1,
  withFeatureWindow,
} from '../../../protocols/virtio/features.js'

const RECOGNISED = VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER
const FEATURES_OK_AND_ON = VIRTIO_CONFIG_S_FEATURES_OK | VIRTIO_CONFIG_S_DRIVER_OK

/** Hears of every change, after it. */
export interface ControlListener {
  statusChanged(before: number, after: number, resetReason: string | undefined): void
  /** FEATURES_OK has been set. */
  featuresAgreed(offered: FeatureSet, active: FeatureSet): void
}

/** The part of a device that its driver starts it with. */
export class DeviceControl {
  readonly offered: FeatureSet
  /** What the driver accepted; meaningful from FEATURES_OK on. */
  accepted: FeatureSet = 0n
  /** The device status field. */
  status = 0
  /** Why the device asks for a reset. */
  resetReason: string | undefined
  /** Writes that came out of order and had no effect. */
  ignoredWrites = 0

  private readonly listener: ControlListener

  constructor(offered: FeatureSet, listener: ControlListener) {
    this.offered = offered
    this.listener = listener
  }

  /** What is in use: nothing before FEATURES_OK, and never a bit that was not offered. */
  get active(): FeatureSet {
    return this.negotiated ? this.accepted & this.offered : 0n
  }

  /** 32 bits of the offered set. */
  deviceFeatures(select: number): number {
    return featureWindow(this.offered, select)
  }

  /** Sets 32 bits of the accepted set; ignored once negotiation is complete (virtio 1.2, 2.2). */
  setDriverFeatures(select: number, value: number): void {
    if ((this.status & VIRTIO_CONFIG_S_FEATURES_OK) !== 0) this.ignoredWrites++
    else this.accepted = withFeatureWindow(this.accepted, select, value)
  }

  /** Whether a feature is in use. */
  agreed(bit: number): boolean {
    return hasFeature(this.active, bit)
  }

  get negotiated(): boolean {
    return (this.status & VIRTIO_CONFIG_S_FEATURES_OK) !== 0
  }

  /** The driver is ready, and neither side has given up. */
  get running(): boolean {
    const stopped = VIRTIO_CONFIG_S_NEEDS_RESET | VIRTIO_CONFIG_S_FAILED
    return (this.status & (VIRTIO_CONFIG_S_DRIVER_OK | stopped)) === VIRTIO_CONFIG_S_DRIVER_OK
  }

  /** The driver sets bits; a write of 0, the reset, is the device's. Returns the bits that are new. */
  setStatus(value: number): number {
    const before = this.status
    if ((before & ~VIRTIO_CONFIG_S_NEEDS_RESET & ~value) !== 0) this.ignoredWrites++
    let after = before | (value & (RECOGNISED | VIRTIO_CONFIG_S_FAILED))
    if ((value & VIRTIO_CONFIG_S_FEATURES_OK) !== 0 && this.mayAccept(after)) after |= VIRTIO_CONFIG_S_FEATURES_OK
    if ((value & VIRTIO_CONFIG_S_DRIVER_OK) !== 0) {
      if ((after & VIRTIO_CONFIG_S_FEATURES_OK) !== 0) after |= VIRTIO_CONFIG_S_DRIVER_OK
      else this.ignoredWrites++
    }
    this.change(after)
    return after & ~before
  }

  /** Asks for a reset. True where the driver is to be told by a configuration change notification (2.1.2). */
  needReset(reason: string): boolean {
    if ((this.status & VIRTIO_CONFIG_S_NEEDS_RESET) !== 0) return false
    this.resetReason = reason
    this.change(this.status | VIRTIO_CONFIG_S_NEEDS_RESET)
    return (this.status & VIRTIO_CONFIG_S_DRIVER_OK) !== 0
  }

  /** Back to the beginning. */
  reset(): void {
    this.accepted = 0n
    this.resetReason = undefined
    this.change(0)
  }

  /** Puts a device that is in its beginning where another one stood; false where this one could not have got there. */
  restore(status: number, accepted: FeatureSet, resetReason: string | undefined): boolean {
    const known = RECOGNISED | FEATURES_OK_AND_ON | VIRTIO_CONFIG_S_NEEDS_RESET | VIRTIO_CONFIG_S_FAILED
    if ((status & ~known) !== 0 || (accepted & ~this.offered) !== 0n) return false
    const negotiated = (status & VIRTIO_CONFIG_S_FEATURES_OK) !== 0
    if (!negotiated && (status & VIRTIO_CONFIG_S_DRIVER_OK) !== 0) return false
    this.accepted = accepted
    if (negotiated && !this.acceptable(status)) {
      this.accepted = 0n
      return false
    }
    this.resetReason = resetReason
    this.change(status)
    return true
  }

  private change(after: number): void {
    const before = this.status
    if (after === before) return
    this.status = after
    this.listener.statusChanged(before, after, this.resetReason)
    const agreed = (after & ~before & VIRTIO_CONFIG_S_FEATURES_OK) !== 0
    if (agreed) this.listener.featuresAgreed(this.offered, this.active)
  }

  /** A subset of what was offered, by a driver of version 1 (virtio 1.2, 2.2.2 and 6.2: a modern device alone). */
  private mayAccept(status: number): boolean {
    const good = this.acceptable(status)
    if (!good) this.ignoredWrites++
    return good
  }

  private acceptable(status: number): boolean {
    return (
      (status & RECOGNISED) === RECOGNISED &&
      (this.accepted & ~this.offered) === 0n &&
      hasFeature(this.accepted, VIRTIO_F_VERSION_1)
    )
  }
}
