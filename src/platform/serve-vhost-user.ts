// A disk on a vhost-user socket: a virtio-blk device on a backend, driven by whoever connects.

import { rmSync, statSync } from 'node:fs'
import type { Clock } from '../common/clock.js'
import { BlockError } from '../common/error.js'
import type { HostIpc } from '../common/host-ipc.js'
import type { BlkPresentation } from '../devices/virtio/blk/blk-setup.js'
import { VirtioBlkDevice } from '../devices/virtio/blk/virtio-blk.js'
import type { RingOffer } from '../devices/virtio/core/ring-features.js'
import { VhostUserServer, type VhostUserServerOptions } from '../exports/vhost-user/server.js'
import type { BlockBackend } from '../global-state/backend.js'
import { loadHostIpc } from './native/host-ipc.js'

/** How a disk is served. */
export interface VhostUserBlkOptions extends BlkPresentation, Omit<RingOffer, 'queueReset'>, VhostUserServerOptions {
  /** Path of the socket, which is made, and removed at the end. */
  socket: string
  clock?: Clock
}

/** A disk that is served. `await using` ends it, or {@link VhostUserBlkServer.close} does. */
export class VhostUserBlkServer implements AsyncDisposable {
  readonly device: VirtioBlkDevice
  readonly socket: string
  readonly #server: VhostUserServer
  readonly #inode: number
  #closing: Promise<void> | undefined

  /** Made by {@link serveVhostUserBlk}. */
  constructor(ipc: HostIpc, backend: BlockBackend, options: VhostUserBlkOptions) {
    let server: VhostUserServer | undefined
    this.socket = options.socket
    this.device = new VirtioBlkDevice({
      ...options,
      // One ring alone cannot be reset over this protocol.
      queueReset: false,
      root: backend.root,
      notifier: {
        notifyQueue: (index) => server?.notifyQueue(index),
        notifyConfig: () => server?.notifyConfig(),
      },
    })
    const listener = ipc.listen(options.socket)
    this.#inode = statSync(options.socket).ino
    server = new VhostUserServer(ipc, this.device, listener, options)
    this.#server = server
  }

  /** Whether a front-end is connected. */
  get connected(): boolean {
    return this.#server.connected
  }

  /** Ends the connection there is and lets go of the backend; done when no request is under way. */
  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  async #close(): Promise<void> {
    // Not one that another process has put in its place.
    if (statSync(this.socket, { throwIfNoEntry: false })?.ino === this.#inode) rmSync(this.socket, { force: true })
    await this.#server.close()
    await this.device.close()
  }
}

/**
 * Serves a disk, or any backend, as a vhost-user-blk device at a socket: to QEMU, user-mode-linux or any other front-end,
 * one at a time. The disk stays open until its owner closes it, after the server. Rejects with ENOTSUP without native calls
 * (the package koffi), EADDRINUSE, EBUSY where the backend has a device already, EINVAL for options.
 */
export async function serveVhostUserBlk(
  disk: BlockBackend | { readonly backend: BlockBackend },
  options: VhostUserBlkOptions,
): Promise<VhostUserBlkServer> {
  const ipc = await loadHostIpc()
  const backend = 'backend' in disk ? disk.backend : disk
  if (backend.node === undefined) throw new BlockError('ENOMEDIUM', 'there is no disk to serve', { op: 'vhost-user' })
  return new VhostUserBlkServer(ipc, backend, options)
}
