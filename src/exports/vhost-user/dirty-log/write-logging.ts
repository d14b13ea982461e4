// What of a connection's writes is logged: buffers while VHOST_F_LOG_ALL is agreed, a ring's own parts while its address
// says so (vhost-user.rst, Migration). The pieces come in any order, and logging begins when there is a log.
// Whatever could be written while logging is on has its bit in the log, which is checked whenever one of the two changes.

import type { Clock } from '../../../common/clock.js'
import { BlockError } from '../../../common/error.js'
import type { HostIpc } from '../../../common/host-ipc.js'
import type { WriteLog } from '../../../devices/virtio/memory/write-log.js'
import type { BackendDevice } from '../backend-device.js'
import type { LogMemory } from './log-memory.js'
import type { RingPart } from './ring-parts.js'

/** What logging needs of its connection. */
export interface LoggingHost {
  readonly ipc: HostIpc
  readonly device: Pick<BackendDevice, 'setWriteLog'>
  readonly clock: Clock
  /** The first guest address behind all memory, which may change. */
  readonly memoryEnd: number
}

/** The log of one connection, and what goes into it. */
export class WriteLogging implements WriteLog {
  private readonly host: LoggingHost
  private memory: LogMemory | undefined
  private buffers = false
  /** Of rings that run and are logged. */
  private readonly parts = new Map<number, readonly RingPart[]>()
  private eventFd = -1
  /** The event will be signalled on the next turn. */
  private due = false
  private readonly onTurn = (): void => this.tell()

  constructor(host: LoggingHost) {
    this.host = host
  }

  /** Whether buffers are logged, as far as there is a log. */
  get logsBuffers(): boolean {
    return this.buffers
  }

  /** Whether there is a log. */
  get hasLog(): boolean {
    return this.memory !== undefined
  }

  /** Another log, which is this object's from then on. Throws EINVAL for one that is too small; it is as it was then. */
  useMemory(memory: LogMemory): void {
    checkReach(memory, this.reach(this.host.memoryEnd))
    this.memory?.unmap()
    this.memory = memory
    this.apply()
  }

  /** An event to signal when bits were set, once a turn at most. Owns the descriptor. */
  useEvent(fd: number): void {
    this.closeEvent()
    this.eventFd = fd
  }

  /** Throws EINVAL where {@link logBuffers} would have to log what the log has no bit for. */
  checkBuffers(): void {
    if (this.memory !== undefined) checkReach(this.memory, this.host.memoryEnd)
  }

  /** Begins or ends the logging of buffers. */
  logBuffers(on: boolean): void {
    this.buffers = on
    this.apply()
  }

  /** Throws EINVAL where guest memory up to `memoryEnd` could not be logged. */
  checkTable(memoryEnd: number): void {
    const logging = this.buffers || this.parts.size > 0
    if (logging && this.memory !== undefined) checkReach(this.memory, memoryEnd)
  }

  /** Throws EINVAL where the log has no bit for a part of a ring. */
  checkRing(parts: readonly RingPart[]): void {
    if (this.memory !== undefined) checkReach(this.memory, reachOf(parts))
  }

  /** A running ring is logged from now on, or without parts no more. All of it may have been written before. */
  logRing(index: number, parts: readonly RingPart[] | undefined): void {
    if (parts === undefined) this.parts.delete(index)
    else this.parts.set(index, parts)
    this.apply()
    this.ring(index)
  }

  buffer(address: number, bytes: number): void {
    if (this.buffers) this.mark(address, bytes)
  }

  ring(index: number): void {
    const parts = this.parts.get(index)
    if (parts === undefined) return
    for (const { address, bytes } of parts) this.mark(address, bytes)
  }

  /** Whether no file has become shorter than what is mapped of it. */
  stillWhole(): boolean {
    return this.memory?.stillWhole() !== false
  }

  /** Logs nothing any more, and lets go of all. */
  close(): void {
    this.host.device.setWriteLog(undefined)
    this.memory?.unmap()
    this.memory = undefined
    this.closeEvent()
  }

  private mark(address: number, bytes: number): void {
    if (this.memory === undefined) return
    this.memory.mark(address, bytes)
    if (this.eventFd < 0 || this.due) return
    this.due = true
    this.host.clock.nextTurn(this.onTurn)
  }

  /** Where nothing is logged the device has nobody to tell. */
  private apply(): void {
    const logs = this.memory !== undefined && (this.buffers || this.parts.size > 0)
    this.host.device.setWriteLog(logs ? this : undefined)
  }

  /** The first address behind all that has to be logged. */
  private reach(memoryEnd: number): number {
    return Math.max(memoryEnd, ...[...this.parts.values()].map(reachOf))
  }

  private tell(): void {
    this.due = false
    if (this.eventFd < 0) return
    try {
      this.host.ipc.signal(this.eventFd)
    } catch {
      // The other end is gone, or it never was an event: there is nobody to tell.
      this.closeEvent()
    }
  }

  private closeEvent(): void {
    if (this.eventFd >= 0) this.host.ipc.close(this.eventFd)
    this.eventFd = -1
  }
}

function reachOf(parts: readonly RingPart[]): number {
  return Math.max(...parts.map(({ address, bytes }) => address + bytes))
}

function checkReach(memory: LogMemory, reach: number): void {
  if (reach <= memory.end) return
  throw new BlockError(
    'EINVAL',
    `the log of written pages ends at address 0x${memory.end.toString(16)}, what is to be logged at 0x${reach.toString(16)}`,
  )
}
