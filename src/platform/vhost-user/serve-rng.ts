// Entropy on a vhost-user socket: a virtio-rng device.

import type { Trace } from '../../common/trace.js'
import type { RingOffer } from '../../devices/virtio/core/ring-features.js'
import type { RngModelOptions } from '../../devices/virtio/rng/rng-model.js'
import { VirtioRngDevice } from '../../devices/virtio/rng/virtio-rng.js'
import { nodeCrypto } from '../crypto.js'
import { withEvents } from './device-events.js'
import { serveVhostUser, type VhostUserDeviceServer, type VhostUserOptions } from './serve-device.js'

/** How entropy is served. */
export interface VhostUserRngOptions
  extends Omit<RngModelOptions, 'entropy' | 'trace'>,
    Omit<RingOffer, 'queueReset'>,
    VhostUserOptions {
  /** Where the bytes come from; by default from the host's own generator. See {@link RngModelOptions.entropy}. */
  entropy?: RngModelOptions['entropy']
  /** Told of the device's own events. */
  events?: Trace
}

/** Entropy that is served. */
export type VhostUserRngServer = VhostUserDeviceServer<VirtioRngDevice>

/**
 * Serves entropy as a vhost-user-rng device at a socket, one front-end at a time. Rejects with ENOTSUP without native calls (the
 * package koffi), EADDRINUSE, EINVAL for options.
 */
export function serveVhostUserRng(options: VhostUserRngOptions): Promise<VhostUserRngServer> {
  const { entropy = nodeCrypto.randomBytes } = options
  return serveVhostUser((notifier) => new VirtioRngDevice({ ...withEvents(options), entropy, notifier }), options)
}
