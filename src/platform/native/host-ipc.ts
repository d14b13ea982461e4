// Sockets, memory and events of this process, in one object: present or absent as a whole.

import { BlockError } from '../../common/error.js'
import type { HostIpc } from '../../common/host-ipc.js'
import { createFdWatch } from './fd-watch.js'
import { type IpcLibc, loadIpcLibc } from './ipc-libc.js'
import { nativeError } from './libc.js'
import { createSharedMemory } from './shared-memory.js'
import { createUnixSockets } from './unix-socket.js'

const EFD_NONBLOCK = 0o4000
const EFD_CLOEXEC = 0o2000000
const F_GETFL = 3
const F_SETFL = 4
const O_NONBLOCK = 0o4000
const EAGAIN = 11

let made: HostIpc | undefined

/** The calls of this process. Throws ENOTSUP, saying what is missing, where it has none. */
export async function loadHostIpc(): Promise<HostIpc> {
  const libc = await loadIpcLibc()
  if (libc === undefined) {
    throw new BlockError('ENOTSUP', 'native calls are needed, and there are none here', {
      hint: 'Install the package koffi (2.16 or later) beside blockgraph: npm install koffi. It works on 64-bit Linux.',
    })
  }
  made ??= createHostIpc(libc)
  return made
}

function createHostIpc(libc: IpcLibc): HostIpc {
  // An event adds what is written; a pipe takes the bytes as they are.
  const one = new Uint8Array(8)
  one[0] = 1
  const sink = new Uint8Array(4096)
  return {
    ...createUnixSockets(libc),
    ...createSharedMemory(libc),
    ...createFdWatch(libc),
    createEvent() {
      const fd = libc.eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)
      if (fd < 0) throw nativeError(libc.errno(), 'eventfd')
      return fd
    },
    setNonBlocking(fd) {
      const flags = libc.fcntl(fd, F_GETFL, 0)
      if (flags < 0 || libc.fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0) throw nativeError(libc.errno(), 'fcntl')
    },
    signal(fd) {
      if (libc.write(fd, one, 8) < 0 && libc.errno() !== EAGAIN) throw nativeError(libc.errno(), 'write')
    },
    takeSignals(fd) {
      const got = libc.read(fd, sink, sink.byteLength)
      if (got > 0) return true
      if (got === 0) throw new BlockError('EPIPE', 'the other end of the pipe is closed', { op: 'read' })
      if (libc.errno() === EAGAIN) return false
      throw nativeError(libc.errno(), 'read')
    },
    close(fd) {
      libc.close(fd)
    },
  }
}
