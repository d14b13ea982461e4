// A virtio device of any kind on a vhost-user socket: the socket, the server behind it, and the end of both.

import { rmSync, statSync } from 'node:fs'
import type { HostIpc } from '../../common/host-ipc.js'
import type { GuestNotifier } from '../../devices/virtio/core/notifiers.js'
import type { BackendDevice } from '../../exports/vhost-user/backend-device.js'
import { VhostUserServer, type VhostUserServerOptions } from '../../exports/vhost-user/server.js'
import { loadHostIpc } from '../native/host-ipc.js'

/** How a device is served. */
export interface VhostUserOptions extends VhostUserServerOptions {
  /** Path of the socket, which is made, and removed at the end. */
  socket: string
}

/** What can be served: any `VirtioDevice`. */
export interface VhostUserDevice extends BackendDevice {
  /** Lets go of all it holds; done when nothing is in flight. */
  close(): Promise<void>
}

/** A device that is served. `await using` ends it, or {@link VhostUserDeviceServer.close} does. */
export class VhostUserDeviceServer<D extends VhostUserDevice> implements AsyncDisposable {
  readonly device: D
  readonly socket: string
  readonly #server: VhostUserServer
  readonly #inode: number
  #closing: Promise<void> | undefined

  /** Made by {@link serveVhostUser}. */
  constructor(device: D, server: VhostUserServer, socket: string) {
    this.device = device
    this.socket = socket
    this.#server = server
    this.#inode = statSync(socket).ino
  }

  /** Whether a front-end is connected. */
  get connected(): boolean {
    return this.#server.connected
  }

  /** Ends the connection there is and lets go of what the device holds; done when no request is under way. */
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
 * Serves the device that `create` makes at a socket: to QEMU, user-mode Linux or any other front-end, one at a time.
 * `create` gives the notifier to its device. Rejects with what `create` throws, with ENOTSUP without native calls (the package
 * koffi), with EADDRINUSE.
 */
export async function serveVhostUser<D extends VhostUserDevice>(
  create: (notifier: GuestNotifier) => D | Promise<D>,
  options: VhostUserOptions,
): Promise<VhostUserDeviceServer<D>> {
  const ipc = await loadHostIpc()
  let server: VhostUserServer | undefined
  const device = await create({
    notifyQueue: (index) => server?.notifyQueue(index),
    notifyConfig: () => server?.notifyConfig(),
  })
  try {
    server = listen(ipc, device, options)
  } catch (error) {
    await device.close()
    throw error
  }
  return new VhostUserDeviceServer(device, server, options.socket)
}

function listen(ipc: HostIpc, device: BackendDevice, options: VhostUserOptions): VhostUserServer {
  return new VhostUserServer(ipc, device, ipc.listen(options.socket), options)
}
