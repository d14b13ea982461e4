// A log of written pages as a front-end keeps it: memory that it shares, and out of which it takes what has been set.

import type { HostIpc, SharedMapping } from '../../../src/common/host-ipc.js'
import { VHOST_USER_SET_LOG_BASE } from '../../../src/protocols/vhost-user/messages.js'
import { decodeU64 } from '../../../src/protocols/vhost-user/payloads.js'
import { encodeLog } from '../../../src/protocols/vhost-user/shared-area.js'
import type { FrontEnd } from './front-end.js'

const PAGE = 4096

/** A log. */
export class GuestLog {
  readonly fd: number
  readonly bytes: number
  readonly offset: number
  private readonly ipc: HostIpc
  private readonly mapping: SharedMapping
  private readonly bits: Uint8Array

  /** For addresses below `end`; it begins `offset` bytes behind the beginning of its file. */
  constructor(ipc: HostIpc, end: number, offset = 0) {
    this.ipc = ipc
    this.bytes = Math.ceil(end / PAGE / 8)
    this.offset = offset
    this.fd = ipc.createMemory('log', offset + this.bytes)
    this.mapping = ipc.map(this.fd, offset, this.bytes)
    this.bits = new Uint8Array(this.mapping.view(0, this.bytes))
  }

  /** The message by which a back-end gets it. */
  get payload(): Uint8Array {
    return encodeLog({ size: BigInt(this.bytes), offset: BigInt(this.offset) })
  }

  /** Gives it to the back-end, and waits until it is used. */
  async give(front: FrontEnd): Promise<void> {
    const { payload } = await front.ask(VHOST_USER_SET_LOG_BASE, { payload: this.payload, fds: [this.fd] })
    if (decodeU64(payload) !== 0n) throw new Error('the back-end refused the log')
  }

  /** Takes the addresses of pages that have been set. */
  take(): Set<number> {
    const pages = new Set<number>()
    for (let at = 0; at < this.bits.length; at++) {
      const byte = Atomics.exchange(this.bits, at, 0)
      for (let bit = 0; bit < 8; bit++) if ((byte & (1 << bit)) !== 0) pages.add((8 * at + bit) * PAGE)
    }
    return pages
  }

  close(): void {
    this.mapping.unmap()
    this.ipc.close(this.fd)
  }
}
