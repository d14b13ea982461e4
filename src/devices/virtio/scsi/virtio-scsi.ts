// A virtio SCSI host (virtio 1.2, 5.6) with disks.

import { VirtioDevice, type VirtioDeviceOptions } from '../core/virtio-device.js'
import { ScsiModel, type ScsiModelOptions } from './scsi-model.js'
import type { ScsiDiskOptions } from './scsi-unit.js'

/** What a controller is made of. */
export interface VirtioScsiOptions extends ScsiModelOptions, VirtioDeviceOptions {}

/** A virtio-scsi device. Queue 0 is for control, 1 for events; requests are served from 2 on. */
export class VirtioScsiDevice extends VirtioDevice {
  private readonly controller: ScsiModel

  constructor(options: VirtioScsiOptions) {
    const controller = new ScsiModel(options)
    super(controller, options)
    this.controller = controller
  }

  /**
   * Puts a disk behind the controller; a running driver is told by an event. Throws EINVAL for what no disk can be, EEXIST
   * for a place that is taken, EBUSY for a backend in use.
   */
  attachDisk(disk: ScsiDiskOptions): void {
    this.controller.attachDisk(disk)
  }

  /** Takes a disk away: done when its commands have ended and the backend is free. Rejects with ENOENT where there is none. */
  detachDisk(target: number, lun: number): Promise<void> {
    return this.controller.detachDisk(target, lun)
  }

  /** Commands that wait for {@link resume} by the `stop` policy. */
  get parkedRequests(): number {
    return this.controller.engine.setAside.size
  }

  /** Runs what the `stop` policy has parked again; in a drained section, or paused, after its end. */
  resume(): void {
    this.controller.engine.resume()
  }
}
