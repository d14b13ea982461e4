// Descriptors that came with a message. Each is taken by who needs it or closed with the message: none is left over, on
// whatever path (threats.md U01).

import type { HostIpc } from '../../common/host-ipc.js'

/** The descriptors of one message. */
export class Descriptors {
  private readonly ipc: HostIpc
  private readonly left: number[]

  constructor(ipc: HostIpc, fds: number[] = []) {
    this.ipc = ipc
    this.left = fds
  }

  get count(): number {
    return this.left.length
  }

  /** The next one, which is the caller's to close; undefined where there is none. */
  take(): number | undefined {
    return this.left.shift()
  }

  /** Closes those that nobody has taken. */
  close(): void {
    for (const fd of this.left.splice(0)) this.ipc.close(fd)
  }
}
