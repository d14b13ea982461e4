// One front-end from its connection to its end: the message loop, one message at a time, and what it holds. Whatever way it
// ends, requests end first, then memory is unmapped and every descriptor closed.

import type { Clock } from '../../common/clock.js'
import { BlockError, toBlockError } from '../../common/error.js'
import type { HostIpc } from '../../common/host-ipc.js'
import { GuestMemory } from '../../devices/virtio/memory/guest-memory.js'
import { encodeMessage } from '../../protocols/vhost-user/header.js'
import {
  messageName,
  VHOST_USER_PROTOCOL_F_CONFIG,
  VHOST_USER_PROTOCOL_F_INBAND_NOTIFICATIONS,
  VHOST_USER_PROTOCOL_F_REPLY_ACK,
} from '../../protocols/vhost-user/messages.js'
import { encodeU64 } from '../../protocols/vhost-user/payloads.js'
import type { BackendChannel } from './backend-channel.js'
import type { BackendDevice, DeviceListener } from './backend-device.js'
import { type LoggingHost, WriteLogging } from './dirty-log/write-logging.js'
import type { InflightMemory } from './inflight/inflight-memory.js'
import { type MemoryPolicy, MemoryTable } from './memory-table.js'
import { HANDLERS, type Reply } from './message-handlers.js'
import { MessageSocket, type ReceivedMessage } from './message-socket.js'
import { Negotiation, type ProtocolOffer, UnsuitableFrontEnd } from './negotiation.js'
import type { Ring } from './ring.js'
import { RingPoller } from './ring-poller.js'
import { type RingHost, RingSet } from './ring-set.js'

/** How front-ends are served. */
export interface ConnectionOptions extends ProtocolOffer, MemoryPolicy {
  /** Most regions a front-end may share. */
  memorySlots: number
}

/** What a connection needs of the world. */
export interface ConnectionEnvironment {
  readonly ipc: HostIpc
  readonly device: BackendDevice
  readonly clock: Clock
  readonly options: ConnectionOptions
  /** A line for people: what a front-end did wrong. */
  log(message: string): void
  /** A line for people who look closely: every message, and how it was taken. */
  trace?(message: string): void
}

/** Stands for the memory of a front-end that is gone: a device has no way to have none. */
const NO_MEMORY = new GuestMemory([{ address: 0, memory: new ArrayBuffer(16) }])

/** A front-end. */
export class VhostUserConnection implements RingHost, LoggingHost, DeviceListener {
  readonly ipc: HostIpc
  readonly device: BackendDevice
  readonly options: ConnectionOptions
  readonly clock: Clock
  readonly negotiation: Negotiation
  readonly logging: WriteLogging
  readonly rings: RingSet
  readonly poller: RingPoller
  table: MemoryTable
  inflight: InflightMemory | undefined
  channel: BackendChannel | undefined

  private readonly environment: ConnectionEnvironment
  private readonly socket: MessageSocket
  private ending = false
  private reported: string | undefined

  /** Owns `fd`, the socket of the front-end. */
  constructor(environment: ConnectionEnvironment, fd: number) {
    const { ipc, device, options, clock } = environment
    this.environment = environment
    this.ipc = ipc
    this.device = device
    this.options = options
    this.clock = clock
    this.socket = new MessageSocket(ipc, fd)
    this.negotiation = new Negotiation(device, options)
    this.table = new MemoryTable(ipc)
    this.logging = new WriteLogging(this)
    this.rings = new RingSet(this)
    this.poller = new RingPoller(device, clock, this)
  }

  /** Serves the front-end until it leaves, breaks the protocol or {@link close} is called. Never rejects. */
  async run(): Promise<void> {
    try {
      for (;;) {
        const message = await this.socket.next()
        if (message === undefined || this.ending) {
          message?.descriptors.close()
          break
        }
        if (!(await this.answer(message))) break
      }
    } catch (error) {
      this.environment.log(`connection ended: ${toBlockError(error).message}`)
    }
    await this.tearDown()
  }

  /** Ends the connection; {@link run} returns when all of it is gone. */
  close(): void {
    this.ending = true
    this.socket.close()
  }

  /** The rings of the device are in this memory from now on. No ring may run. */
  useTable(table: MemoryTable): void {
    this.device.setMemory(table.memory ?? NO_MEMORY)
    this.table = table
  }

  get memoryEnd(): number {
    return this.table.memoryEnd
  }

  // What the device tells.

  notifyQueue(index: number): void {
    const ring = this.rings.rings[index]
    if (ring !== undefined) this.callRing(ring)
    this.poller.expect()
  }

  notifyConfig(): void {
    const { resetReason } = this.device
    if (resetReason !== undefined && resetReason !== this.reported) {
      this.reported = resetReason
      this.environment.log(`the driver broke the rules: ${resetReason}`)
      for (const ring of this.rings.rings) if (ring.running) this.reportBroken(ring)
    }
    if (this.negotiation.has(VHOST_USER_PROTOCOL_F_CONFIG)) this.channel?.configChanged()
  }

  // What the rings need.

  kicked(): void {
    this.poller.kicked()
  }

  ringFailed(ring: Ring, error: unknown): void {
    this.environment.log(toBlockError(error).message)
    this.reportBroken(ring)
  }

  callRing(ring: Ring): void {
    if (ring.call()) return
    if (this.negotiation.has(VHOST_USER_PROTOCOL_F_INBAND_NOTIFICATIONS)) this.channel?.ringUsed(ring.index)
  }

  // What the poller needs.

  /** Memory that became shorter would end the process at the next access. */
  check(): boolean {
    const whole = this.table.stillWhole()
    if (whole && this.logging.stillWhole()) return true
    this.environment.log(`connection ended: a file of ${whole ? 'the log' : 'guest memory'} has become shorter`)
    this.close()
    return false
  }

  get hasUnkicked(): boolean {
    return this.rings.hasUnkicked
  }

  private reportBroken(ring: Ring): void {
    if (ring.reportError()) return
    if (this.negotiation.has(VHOST_USER_PROTOCOL_F_INBAND_NOTIFICATIONS)) this.channel?.ringBroken(ring.index)
  }

  /** Handles one message and answers it; whether to go on. */
  private async answer(message: ReceivedMessage): Promise<boolean> {
    const { header, descriptors } = message
    const { log, trace } = this.environment
    const name = messageName(header.request)
    const handler = HANDLERS.get(header.request)
    let reply: Reply
    let failure: BlockError | undefined
    trace?.(
      `${name}: ${header.size} bytes, ${descriptors.count} descriptors${header.needReply ? ', asks for an answer' : ''}`,
    )
    try {
      if (header.reply) throw new UnsuitableFrontEnd('EPROTO', 'an answer to a question that nobody asked')
      if (handler === undefined) throw new BlockError('ENOTSUP', 'not a message of this back-end')
      if (descriptors.count > (handler.descriptors ?? 0)) {
        throw new BlockError('EPROTO', `${descriptors.count} descriptors, ${handler.descriptors ?? 0} are expected`)
      }
      reply = await handler.handle(this, message)
    } catch (error) {
      failure = toBlockError(error)
      log(`${name}: ${failure.message}${failure.hint === undefined ? '' : `. ${failure.hint}`}`)
    } finally {
      descriptors.close()
    }
    if (failure instanceof UnsuitableFrontEnd) return false
    if (handler?.replies === true) {
      // A question has to be answered: where the answer has no way to say that it failed, the connection says it.
      if (failure !== undefined) reply = handler.failed?.(message)
      return reply !== undefined && this.reply(message, reply)
    }
    if (!header.needReply || !this.negotiation.has(VHOST_USER_PROTOCOL_F_REPLY_ACK)) return true
    return this.reply(message, { payload: encodeU64(failure === undefined ? 0 : 1) })
  }

  private async reply({ header }: ReceivedMessage, { payload, fd }: NonNullable<Reply>): Promise<boolean> {
    const bytes = encodeMessage(header.request, payload, { reply: true })
    try {
      return await this.socket.send(bytes, fd === undefined ? [] : [fd])
    } finally {
      if (fd !== undefined) this.ipc.close(fd)
    }
  }

  /** Whatever fails on the way, everything is let go of. */
  private async tearDown(): Promise<void> {
    this.poller.stop()
    for (const ring of this.rings.rings) ring.stopWatching()
    if (!this.logging.stillWhole()) this.logging.close()
    try {
      await this.endRequests()
    } catch (error) {
      this.environment.log(`ending requests: ${toBlockError(error).message}`)
    }
    for (const ring of this.rings.rings) ring.release()
    this.channel?.close()
    this.inflight?.unmap()
    this.logging.close()
    this.table.end()
    this.socket.close()
  }

  private async endRequests(): Promise<void> {
    // They end in the rings while these are there, so that nothing is lost to whoever connects next. What is set aside stays in
    // the record, which the front-end brings along.
    if (this.table.stillWhole()) await this.rings.stopAll((ring) => this.rings.isRecorded(ring))
    await this.negotiation.resetDevice()
    this.device.setMemory(NO_MEMORY)
  }
}
