// A disk on a vhost-user socket: a virtio-blk device on a backend, driven by whoever connects.

import type { BlkPresentation } from '../../devices/virtio/blk/blk-setup.js'
import { VirtioBlkDevice } from '../../devices/virtio/blk/virtio-blk.js'
import type { GuestNotifier } from '../../devices/virtio/core/notifiers.js'
import type { RingOffer } from '../../devices/virtio/core/ring-features.js'
import { serveVhostUser, type VhostUserDeviceServer, type VhostUserOptions } from './serve-device.js'
import { rootOfDisk, type ServedDisk } from './served-disk.js'

/** How a disk is served. */
export interface VhostUserBlkOptions extends BlkPresentation, Omit<RingOffer, 'queueReset'>, VhostUserOptions {}

/** A disk that is served. */
export type VhostUserBlkServer = VhostUserDeviceServer<VirtioBlkDevice>

/**
 * Serves a disk, or any backend, as a vhost-user-blk device at a socket: to QEMU, user-mode Linux or any other front-end,
 * one at a time. The disk stays open until its owner closes it, after the server. Rejects with ENOTSUP without native calls
 * (the package koffi), EADDRINUSE, EBUSY where the backend has a device already, EINVAL for options.
 */
export function serveVhostUserBlk(disk: ServedDisk, options: VhostUserBlkOptions): Promise<VhostUserBlkServer> {
  const create = (notifier: GuestNotifier) => new VirtioBlkDevice({ ...options, root: rootOfDisk(disk), notifier })
  return serveVhostUser(create, options)
}
