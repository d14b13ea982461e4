// One ring as its front-end has described it, and the descriptors that belong to it. What comes piece by piece, in any
// order and more than once, is kept until the ring can run.

import { BlockError } from '../../common/error.js'
import type { HostIpc, Watch } from '../../common/host-ipc.js'
import type { SuspendedQueue } from '../../devices/virtio/core/left-chains.js'
import type { VringAddress } from '../../protocols/vhost-user/payloads.js'

/** How the driver's kicks arrive. */
export type KickSource = 'none' | 'event' | 'polling' | 'message'

/** A ring. */
export class Ring {
  readonly index: number
  /** In entries; 0 until it is known. */
  size = 0
  /** As SET_VRING_BASE has it: an index, or of a packed ring both indices with their wrap counters. Undefined: fresh. */
  base: number | undefined
  address: VringAddress | undefined
  /** Where it stood with requests that the `stop` policy had set aside, which are done again where it goes on from there. */
  left: SuspendedQueue | undefined
  enabled = false
  kickSource: KickSource = 'none'
  /** The device serves it. */
  running = false
  /** Takes its kicks; set while it runs. */
  watch: Watch | undefined

  private readonly ipc: HostIpc
  private readonly fds = { kick: -1, call: -1, error: -1 }

  constructor(ipc: HostIpc, index: number) {
    this.ipc = ipc
    this.index = index
  }

  get kickFd(): number {
    return this.fds.kick
  }

  get callFd(): number {
    return this.fds.call
  }

  /** Replaces one of the ring's descriptors; the old one is closed. Without a new one there is none. */
  setDescriptor(which: 'kick' | 'call' | 'error', fd: number | undefined): void {
    if (which === 'kick') this.stopWatching()
    const old = this.fds[which]
    if (old >= 0) this.ipc.close(old)
    this.fds[which] = fd ?? -1
  }

  /** Begins to take kicks. Throws EINVAL for a descriptor that nobody can wait for; the ring is without one then. */
  startWatching(kicked: () => void, failed: (error: unknown) => void): void {
    const fd = this.fds.kick
    if (fd < 0 || this.watch !== undefined) return
    try {
      this.watch = this.ipc.watch(fd, 'readable', () => {
        try {
          if (this.ipc.takeSignals(fd)) kicked()
        } catch (error) {
          this.setDescriptor('kick', undefined)
          this.kickSource = 'none'
          failed(error)
        }
      })
    } catch (error) {
      this.setDescriptor('kick', undefined)
      this.kickSource = 'none'
      throw new BlockError('EINVAL', `ring ${this.index}: its kick descriptor cannot be waited for`, { cause: error })
    }
  }

  stopWatching(): void {
    this.watch?.close()
    this.watch = undefined
  }

  /** Tells the driver of used buffers; false where no descriptor says how, or the one there is does not work. */
  call(): boolean {
    return this.signal('call')
  }

  /** Tells the front-end that the ring is broken; false as for {@link call}. */
  reportError(): boolean {
    return this.signal('error')
  }

  /** Forgets what the front-end has said, and closes the descriptors. */
  release(): void {
    this.setDescriptor('kick', undefined)
    this.setDescriptor('call', undefined)
    this.setDescriptor('error', undefined)
    this.size = 0
    this.base = undefined
    this.address = undefined
    this.left = undefined
    this.enabled = false
    this.kickSource = 'none'
  }

  private signal(which: 'call' | 'error'): boolean {
    const fd = this.fds[which]
    if (fd < 0) return false
    try {
      this.ipc.signal(fd)
      return true
    } catch {
      // The other end is gone, or it never was an event: there is nobody to tell.
      this.setDescriptor(which, undefined)
      return false
    }
  }
}
