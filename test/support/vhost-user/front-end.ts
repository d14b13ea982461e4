// A vhost-user front-end that says exactly what a test wants it to: messages with descriptors out, answers back. Every
// descriptor it is given, or makes, is closed at its end.

import type { HostIpc } from '../../../src/common/host-ipc.js'
import { MessageSocket } from '../../../src/exports/vhost-user/message-socket.js'
import { encodeMessage } from '../../../src/protocols/vhost-user/header.js'
import * as m from '../../../src/protocols/vhost-user/messages.js'
import { decodeU64, encodeU64 } from '../../../src/protocols/vhost-user/payloads.js'

/** How a message is sent. */
export interface Saying {
  payload?: Uint8Array
  fds?: readonly number[]
}

/** An answer. */
export interface Answer {
  payload: Uint8Array
  fds: number[]
}

/** The front-end's end of a connection. */
export class FrontEnd {
  readonly ipc: HostIpc
  /** REPLY_ACK was agreed on. */
  acknowledges = true
  private readonly fd: number
  private readonly socket: MessageSocket
  private readonly owned = new Set<number>()
  private closed = false

  constructor(ipc: HostIpc, fd: number) {
    this.ipc = ipc
    this.fd = fd
    this.socket = new MessageSocket(ipc, fd)
  }

  static connect(ipc: HostIpc, path: string): FrontEnd {
    return new FrontEnd(ipc, ipc.connect(path))
  }

  /** Sends bytes as they are. */
  sendRaw(bytes: Uint8Array, fds: readonly number[] = []): void {
    if (this.ipc.send(this.fd, bytes, fds) !== bytes.byteLength) throw new Error('the socket is full')
  }

  /** Sends a message and expects no answer. */
  say(request: number, { payload = new Uint8Array(0), fds = [] }: Saying = {}, needReply = false): void {
    this.sendRaw(encodeMessage(request, payload, { needReply }), fds)
  }

  /** Sends a message that has an answer of its own. Throws where the back-end has closed the connection. */
  async ask(request: number, saying: Saying = {}): Promise<Answer> {
    this.say(request, saying)
    return this.answer(request)
  }

  /** Sends a message and asks whether it worked; without REPLY_ACK, just waits until it was taken. */
  async tell(request: number, saying: Saying = {}): Promise<boolean> {
    if (!this.acknowledges) {
      this.say(request, saying)
      await this.ask(m.VHOST_USER_GET_FEATURES)
      return true
    }
    this.say(request, saying, true)
    const { payload } = await this.answer(request)
    if (payload.byteLength !== 8) throw new Error(`an acknowledgement of ${payload.byteLength} bytes`)
    return decodeU64(payload) === 0n
  }

  /** The next answer, which has to be to `request`. */
  async answer(request: number): Promise<Answer> {
    const message = await this.socket.next()
    if (message === undefined) throw new Error(`the back-end closed the connection at ${m.messageName(request)}`)
    const { header, payload, descriptors } = message
    if (header.request !== request || !header.reply) throw new Error(`an answer to ${m.messageName(header.request)}`)
    const fds: number[] = []
    for (let fd = descriptors.take(); fd !== undefined; fd = descriptors.take()) fds.push(this.own(fd))
    return { payload, fds }
  }

  /** Passes over answers up to one to `request`; false where the connection ends before. */
  async skipTo(request: number): Promise<boolean> {
    for (;;) {
      const message = await this.socket.next().catch(() => undefined)
      message?.descriptors.close()
      if (message === undefined) return false
      if (message.header.request === request) return true
    }
  }

  /** Resolves when the back-end has closed the connection; rejects where it says something. */
  async closedByPeer(): Promise<void> {
    const message = await this.socket.next().catch(() => undefined)
    message?.descriptors.close()
    if (message !== undefined) throw new Error(`the back-end answered ${m.messageName(message.header.request)}`)
  }

  async askNumber(request: number): Promise<bigint> {
    return decodeU64((await this.ask(request)).payload)
  }

  tellNumber(request: number, value: bigint | number): Promise<boolean> {
    return this.tell(request, { payload: encodeU64(value) })
  }

  /** Keeps a descriptor until the end. */
  own(fd: number): number {
    this.owned.add(fd)
    return fd
  }

  /** Leaves a descriptor to the caller. */
  disown(fd: number): number {
    this.owned.delete(fd)
    return fd
  }

  /** Closes a descriptor now. */
  release(fd: number): void {
    if (this.owned.delete(fd)) this.ipc.close(fd)
  }

  /** A new event of the test's. */
  event(): number {
    return this.own(this.ipc.createEvent())
  }

  close(): void {
    if (this.closed) return
    this.closed = true
    this.socket.close()
    for (const fd of this.owned) this.ipc.close(fd)
    this.owned.clear()
  }
}
