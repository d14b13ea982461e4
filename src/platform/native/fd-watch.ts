// Waiting for descriptors on Node's event loop, by koffi's window to libuv: nothing reads them but us. A handler runs on the
// turn that follows, as a callback of Node's own would: called from the poll itself it would leave promises unattended.

import { assert } from '../../common/assert.js'
import type { HostIpc, Watch } from '../../common/host-ipc.js'
import type { IpcLibc } from './ipc-libc.js'
import { nativeError } from './libc.js'

const EPOLL_CTL_ADD = 1
const EPOLL_CTL_DEL = 2
const EPOLL_CLOEXEC = 0o2000000
const EPOLLIN = 1
/** Bytes of struct epoll_event; packed on x86, padded elsewhere. */
const EPOLL_EVENT_BYTES = 16

/** The part of {@link HostIpc} about waiting. */
export type FdWatch = Pick<HostIpc, 'watch'>

/** Makes the function for one process. */
export function createFdWatch(libc: IpcLibc): FdWatch {
  const event = new Uint8Array(EPOLL_EVENT_BYTES)
  event[0] = EPOLLIN
  /** Kept here, too: a handle that nobody holds is collected, and waits for nothing any more. */
  const watched = new Map<number, { close(): void }>()

  let epoll = -1

  /** libuv asks in the same way, but what it refuses ends the process: so this is asked before. */
  function checkPollable(fd: number): void {
    if (epoll < 0) epoll = libc.epollCreate(EPOLL_CLOEXEC)
    if (epoll < 0) throw nativeError(libc.errno(), 'epoll_create1')
    if (libc.epollControl(epoll, EPOLL_CTL_ADD, fd, event) < 0) throw nativeError(libc.errno(), 'epoll_ctl')
    libc.epollControl(epoll, EPOLL_CTL_DEL, fd, event)
  }

  return {
    watch(fd, what, handler): Watch {
      assert(!watched.has(fd), `descriptor ${fd} is being waited for already`)
      checkPollable(fd)
      let open = true
      let due = false
      const run = (): void => {
        due = false
        if (open) handler()
      }
      const poll = libc.poll(fd, what === 'writable', () => {
        // A descriptor that stays ready is reported again before the handler has had its turn.
        if (due || !open) return
        due = true
        setImmediate(run)
      })
      watched.set(fd, poll)
      return {
        close() {
          if (!open) return
          open = false
          watched.delete(fd)
          poll.close()
        },
      }
    },
  }
}
