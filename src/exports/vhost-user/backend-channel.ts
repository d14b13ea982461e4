// Messages of the back-end to the front-end (vhost-user.rst, Back-end communication), on a socket the front-end has given.
// Nobody waits for them: where the socket is full a message is kept, and one that is kept already says the same.

import type { HostIpc, Watch } from '../../common/host-ipc.js'
import { encodeMessage } from '../../protocols/vhost-user/header.js'
import {
  VHOST_USER_BACKEND_CONFIG_CHANGE_MSG,
  VHOST_USER_BACKEND_VRING_CALL,
  VHOST_USER_BACKEND_VRING_ERR,
} from '../../protocols/vhost-user/messages.js'
import { encodeVringState } from '../../protocols/vhost-user/payloads.js'

/** The channel. It owns its socket. */
export class BackendChannel {
  private readonly ipc: HostIpc
  private readonly fd: number
  private readonly needReply: boolean
  private readonly queue = new Map<string, Uint8Array>()
  /** The rest of a message that has begun. */
  private rest: Uint8Array | undefined
  /** For one thing at a time: room to write, or else answers. */
  private watch: Watch | undefined
  private blocked = false
  private open = true

  /** `needReply`: have messages about rings answered, as in-band notifications are to be. Throws where it is no socket. */
  constructor(ipc: HostIpc, fd: number, needReply: boolean) {
    this.ipc = ipc
    this.fd = fd
    this.needReply = needReply
    this.listen()
  }

  /** The configuration space has changed. */
  configChanged(): void {
    this.post('config', encodeMessage(VHOST_USER_BACKEND_CONFIG_CHANGE_MSG, new Uint8Array(0)))
  }

  /** A ring has used buffers. */
  ringUsed(index: number): void {
    this.post(`call ${index}`, this.ringMessage(VHOST_USER_BACKEND_VRING_CALL, index))
  }

  /** A ring is broken. */
  ringBroken(index: number): void {
    this.post(`error ${index}`, this.ringMessage(VHOST_USER_BACKEND_VRING_ERR, index))
  }

  /** Closes it. */
  close(): void {
    if (!this.open) return
    this.open = false
    this.watch?.close()
    this.ipc.close(this.fd)
  }

  private ringMessage(request: number, index: number): Uint8Array {
    return encodeMessage(request, encodeVringState({ index, num: 0 }), { needReply: this.needReply })
  }

  private post(key: string, message: Uint8Array): void {
    if (!this.open) return
    this.queue.set(key, message)
    if (!this.blocked) this.flush()
  }

  private flush(): void {
    try {
      while (this.sendOne()) {
        // Until there is nothing left or no room.
      }
    } catch {
      // The front-end has closed its end: there is nobody to tell.
      this.close()
    }
  }

  /** Whether to go on. */
  private sendOne(): boolean {
    const [key, message] = this.rest === undefined ? this.first() : [undefined, this.rest]
    if (message === undefined) {
      if (this.blocked) this.listen()
      return false
    }
    const sent = this.ipc.send(this.fd, message, [])
    // One that has not begun can still be said for another that says the same.
    if (sent !== undefined && key !== undefined) this.queue.delete(key)
    if (sent !== undefined) this.rest = sent === message.byteLength ? undefined : message.subarray(sent)
    if (sent === message.byteLength) return true
    if (!this.blocked) this.awaitRoom()
    return false
  }

  private awaitRoom(): void {
    this.blocked = true
    this.watch?.close()
    this.watch = this.ipc.watch(this.fd, 'writable', () => this.flush())
  }

  private listen(): void {
    this.blocked = false
    this.watch?.close()
    this.watch = this.ipc.watch(this.fd, 'readable', () => this.dropReplies())
  }

  private first(): [string, Uint8Array] | [undefined, undefined] {
    for (const entry of this.queue) return entry
    return [undefined, undefined]
  }

  /** Nothing depends on an answer; it is read so that the socket does not fill. */
  private dropReplies(): void {
    const fds: number[] = []
    try {
      const got = this.ipc.receive(this.fd, new Uint8Array(4096), fds)
      if (got === 0) this.close()
    } catch {
      this.close()
    }
    for (const fd of fds) this.ipc.close(fd)
  }
}
