// A virtio entropy device (virtio 1.2, 5.4).

import { VirtioDevice, type VirtioDeviceOptions } from '../core/virtio-device.js'
import { RngModel, type RngModelOptions } from './rng-model.js'

/** What a device is made of. */
export interface VirtioRngOptions extends RngModelOptions, VirtioDeviceOptions {}

/** A virtio-rng device. */
export class VirtioRngDevice extends VirtioDevice {
  constructor(options: VirtioRngOptions) {
    super(new RngModel(options), options)
  }
}
