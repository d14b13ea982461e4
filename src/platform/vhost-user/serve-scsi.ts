// Disks on a vhost-user socket: a virtio-scsi controller with one logical unit for each backend.

import type { Trace } from '../../common/trace.js'
import type { GuestNotifier } from '../../devices/virtio/core/notifiers.js'
import type { RingOffer } from '../../devices/virtio/core/ring-features.js'
import type { ScsiModelOptions } from '../../devices/virtio/scsi/scsi-model.js'
import type { ScsiDiskOptions } from '../../devices/virtio/scsi/scsi-unit.js'
import { VirtioScsiDevice } from '../../devices/virtio/scsi/virtio-scsi.js'
import { withEvents } from './device-events.js'
import { serveVhostUser, type VhostUserDeviceServer, type VhostUserOptions } from './serve-device.js'
import { rootOfDisk, type ServedDisk } from './served-disk.js'

/** How a controller is served. */
export interface VhostUserScsiOptions
  extends Omit<ScsiModelOptions, 'trace'>,
    Omit<RingOffer, 'queueReset'>,
    VhostUserOptions {
  /** Told of the device's own events. */
  events?: Trace
}

/** A disk, where it is and what it says of itself. Unless it says otherwise the nth disk is LUN n of target 0. */
export interface VhostUserScsiDisk extends Omit<ScsiDiskOptions, 'root'> {
  disk: ServedDisk
}

/** A controller that is served. Disks can be attached to its device and detached from it at any time. */
export type VhostUserScsiServer = VhostUserDeviceServer<VirtioScsiDevice>

/**
 * Serves disks, or any backends, as a vhost-user-scsi device at a socket: to QEMU, user-mode Linux or any other front-end,
 * one at a time. Disks stay open until their owner closes them, after the server. Rejects with ENOTSUP without native calls
 * (the package koffi), EADDRINUSE, EBUSY where a backend has a device already, EEXIST for two disks in one place, EINVAL for
 * options.
 */
export function serveVhostUserScsi(
  disks: readonly (ServedDisk | VhostUserScsiDisk)[],
  options: VhostUserScsiOptions,
): Promise<VhostUserScsiServer> {
  return serveVhostUser((notifier) => createController(disks, options, notifier), options)
}

async function createController(
  disks: readonly (ServedDisk | VhostUserScsiDisk)[],
  options: VhostUserScsiOptions,
  notifier: GuestNotifier,
): Promise<VirtioScsiDevice> {
  const device = new VirtioScsiDevice({ ...withEvents(options), notifier })
  try {
    for (const [lun, entry] of disks.entries()) {
      const { disk, ...place } = 'disk' in entry ? entry : { disk: entry }
      device.attachDisk({ lun, ...place, root: rootOfDisk(disk) })
    }
  } catch (error) {
    await device.close()
    throw error
  }
  return device
}
