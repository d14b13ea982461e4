// A virtio block device (virtio 1.2, 5.2) over a backend.

import { VirtioDevice, type VirtioDeviceOptions } from '../core/virtio-device.js'
import { BlkModel, type BlkModelOptions } from './blk-model.js'

/** What a device is made of. */
export interface VirtioBlkOptions extends BlkModelOptions, VirtioDeviceOptions {}

/** A virtio-blk device. */
export class VirtioBlkDevice extends VirtioDevice {
  private readonly disk: BlkModel

  /** Throws EINVAL for options that make no device, EBUSY where the backend has a client already. */
  constructor(options: VirtioBlkOptions) {
    const disk = new BlkModel(options)
    super(disk, options)
    this.disk = disk
  }

  /** Requests that wait for {@link resume} by the `stop` policy. */
  get parkedRequests(): number {
    return this.disk.engine.parkedRequests
  }

  /** Runs what the `stop` policy has parked again; in a drained section, or paused, after its end. */
  resume(): void {
    this.disk.engine.resume()
  }
}
