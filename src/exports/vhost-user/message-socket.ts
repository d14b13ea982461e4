// The message stream of a front-end: whole messages in, replies out, over a socket that never blocks. Messages may come in
// pieces; what is read never goes beyond the message at hand, so that its descriptors are its own.

import { toBlockError } from '../../common/error.js'
import type { HostIpc, Watch } from '../../common/host-ipc.js'
import { decodeHeader, VHOST_USER_HEADER_BYTES, type VhostUserHeader } from '../../protocols/vhost-user/header.js'
import { Descriptors } from './descriptors.js'

/** A message as it came. */
export interface ReceivedMessage {
  header: VhostUserHeader
  payload: Uint8Array
  descriptors: Descriptors
}

/** One end of a connection. It owns its socket. */
export class MessageSocket {
  private readonly ipc: HostIpc
  private readonly fd: number
  private open = true
  private watch: Watch | undefined
  private wake: (() => void) | undefined

  constructor(ipc: HostIpc, fd: number) {
    this.ipc = ipc
    this.fd = fd
  }

  /** The next message; undefined when the peer is gone or the socket was closed. Throws EPROTO for what is no message. */
  async next(): Promise<ReceivedMessage | undefined> {
    const fds: number[] = []
    const descriptors = new Descriptors(this.ipc, fds)
    let message: ReceivedMessage | undefined
    try {
      const head = new Uint8Array(VHOST_USER_HEADER_BYTES)
      if (!(await this.fill(head, fds))) return undefined
      const header = decodeHeader(head)
      const payload = new Uint8Array(header.size)
      if (await this.fill(payload, fds)) message = { header, payload, descriptors }
      return message
    } finally {
      if (message === undefined) descriptors.close()
    }
  }

  /** Sends a whole message; false when the peer is gone or the socket was closed. The descriptors stay the caller's. */
  async send(message: Uint8Array, fds: readonly number[] = []): Promise<boolean> {
    let at = 0
    while (this.open && at < message.byteLength) {
      const sent = unlessGone(() => this.ipc.send(this.fd, message.subarray(at), at === 0 ? fds : []))
      if (sent === GONE) return false
      if (sent === undefined) await this.ready('writable')
      else at += sent
    }
    return this.open
  }

  /** Closes the socket; a call that waits returns. */
  close(): void {
    if (!this.open) return
    this.open = false
    this.endWait()
    this.ipc.close(this.fd)
  }

  private async fill(into: Uint8Array, fds: number[]): Promise<boolean> {
    let at = 0
    while (at < into.byteLength) {
      if (!this.open) return false
      const got = unlessGone(() => this.ipc.receive(this.fd, into.subarray(at), fds))
      if (got === GONE || got === 0) return false
      if (got === undefined) await this.ready('readable')
      else at += got
    }
    return this.open
  }

  private ready(what: 'readable' | 'writable'): Promise<void> {
    return new Promise((resolve) => {
      this.wake = resolve
      this.watch = this.ipc.watch(this.fd, what, () => this.endWait())
    })
  }

  private endWait(): void {
    const { wake } = this
    this.watch?.close()
    this.watch = undefined
    this.wake = undefined
    wake?.()
  }
}

const GONE = -1

/** A peer that closes its end with something unread, or to whom something is sent then, is gone as any other. */
function unlessGone(call: () => number | undefined): number | undefined {
  try {
    return call()
  } catch (error) {
    const { code } = toBlockError(error)
    if (code === 'ECONNRESET' || code === 'EPIPE') return GONE
    throw error
  }
}
