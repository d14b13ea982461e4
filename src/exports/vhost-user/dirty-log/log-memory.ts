// The log of written pages (vhost-user.rst, Migration): memory of the front-end with a bit for each page from guest address 0
// on. The front-end takes bits and clears them whenever it likes, so that each is set by an atomic operation, which is one
// for other processes too, whether or not the engine knows that the memory is shared. Nothing is looked up before: a bit
// that is set already may be taken before the write that it is for has arrived, where the operation is no barrier.

import { BlockError } from '../../../common/error.js'
import type { HostIpc, SharedMapping } from '../../../common/host-ipc.js'
import { GiB } from '../../../common/units.js'
import { VHOST_LOG_PAGE } from '../../../protocols/vhost-user/messages.js'
import type { LogDescription } from '../../../protocols/vhost-user/shared-area.js'
import type { MemoryPolicy } from '../memory-table.js'

/** Largest log: bits for 64 TiB of guest addresses. */
const MOST_BYTES = 2 * GiB
const PAGES_OF_BYTE = 8

/** A log that is mapped. */
export class LogMemory {
  /** The first guest address that it has no bit for. */
  readonly end: number

  private readonly ipc: HostIpc
  private readonly mapping: SharedMapping
  private readonly bits: Uint8Array
  /** Kept to look at the length again; undefined where nobody can change it. */
  private readonly watched: { fd: number; end: number } | undefined

  private constructor(ipc: HostIpc, mapping: SharedMapping, watched: LogMemory['watched']) {
    this.ipc = ipc
    this.mapping = mapping
    // By bytes: where the log begins in its file need not be a multiple of anything.
    this.bits = new Uint8Array(mapping.view(0, mapping.bytes))
    this.watched = watched
    this.end = mapping.bytes * PAGES_OF_BYTE * VHOST_LOG_PAGE
  }

  /**
   * Maps a log. Owns `fd` from then on, also where it throws: EINVAL for what is no memory, is empty or ends beyond its
   * file, EFBIG for a size that no guest needs, EPERM for memory that could be made shorter where that is refused.
   */
  static map(ipc: HostIpc, fd: number, { size, offset }: LogDescription, policy: MemoryPolicy): LogMemory {
    let kept = false
    try {
      const info = ipc.describe(fd)
      if (!info.isFile) throw new BlockError('EINVAL', 'the log of written pages is no memory')
      if (size === 0n) throw new BlockError('EINVAL', 'an empty log of written pages')
      if (size > BigInt(MOST_BYTES)) throw new BlockError('EFBIG', `a log of written pages of ${size} bytes`)
      if (offset + size > BigInt(info.size)) {
        throw new BlockError('EINVAL', `a log of ${size} bytes at ${offset} of a file of ${info.size} bytes`)
      }
      if (policy.requireSealed && !info.cannotShrink) {
        throw new BlockError('EPERM', 'a log that could be made shorter, and only sealed memory is accepted')
      }
      const watched = info.cannotShrink ? undefined : { fd, end: Number(offset + size) }
      const log = new LogMemory(ipc, ipc.map(fd, Number(offset), Number(size)), watched)
      kept = watched !== undefined
      return log
    } finally {
      if (!kept) ipc.close(fd)
    }
  }

  /** Sets the bits of all pages that `bytes` bytes from guest address `address` on touch: some bytes, and all below {@link end}. */
  mark(address: number, bytes: number): void {
    const { bits } = this
    const first = Math.floor(address / VHOST_LOG_PAGE)
    const last = Math.floor((address + bytes - 1) / VHOST_LOG_PAGE)
    const end = Math.floor(last / PAGES_OF_BYTE)
    let at = Math.floor(first / PAGES_OF_BYTE)
    let mask = (0xff << (first % PAGES_OF_BYTE)) & 0xff
    for (; at < end; at++) {
      Atomics.or(bits, at, mask)
      mask = 0xff
    }
    Atomics.or(bits, end, mask & (0xff >> (PAGES_OF_BYTE - 1 - (last % PAGES_OF_BYTE))))
  }

  /** Whether its file has not become shorter than what is mapped of it. */
  stillWhole(): boolean {
    return this.watched === undefined || this.ipc.describe(this.watched.fd).size >= this.watched.end
  }

  /** Ends it. */
  unmap(): void {
    this.mapping.unmap()
    if (this.watched !== undefined) this.ipc.close(this.watched.fd)
  }
}
