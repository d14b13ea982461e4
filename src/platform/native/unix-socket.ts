// Unix stream sockets that carry descriptors (unix(7), SCM_RIGHTS). Node cannot receive descriptors, and a socket that libuv
// reads loses them, so these are made, read and written here alone. All are non-blocking and closed on exec.

import { rmSync, statSync } from 'node:fs'
import { BlockError } from '../../common/error.js'
import type { HostIpc } from '../../common/host-ipc.js'
import type { IpcLibc } from './ipc-libc.js'
import { nativeError } from './libc.js'
import { createMessageHead, SCM_MAX_FD } from './message-head.js'

const AF_UNIX = 1
const SOCK_STREAM = 1
const SOCK_NONBLOCK = 0o4000
const SOCK_CLOEXEC = 0o2000000
const SOCKET_TYPE = SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC
const MSG_CTRUNC = 8
const MSG_NOSIGNAL = 0x4000
const MSG_CMSG_CLOEXEC = 0x40000000
const EINTR = 4
const EAGAIN = 11
const ECONNABORTED = 103
const ECONNREFUSED = 111
const PATH_BYTES = 108
const BACKLOG = 16

/** The part of {@link HostIpc} about sockets. */
export type UnixSockets = Pick<HostIpc, 'listen' | 'accept' | 'connect' | 'socketPair' | 'receive' | 'send'>

/** Makes the functions for one process. */
export function createUnixSockets(libc: IpcLibc): UnixSockets {
  const { receive, send } = createTransfer(libc)
  return {
    listen: (path) => listen(libc, path),
    accept(listener) {
      const fd = libc.accept4(listener, 0, 0, SOCK_NONBLOCK | SOCK_CLOEXEC)
      if (fd >= 0) return fd
      const errno = libc.errno()
      // A connection that is gone again before it was accepted is none.
      if (isTemporary(errno) || errno === ECONNABORTED) return undefined
      throw nativeError(errno, 'accept')
    },
    connect(path) {
      const fd = newSocket(libc)
      const address = socketAddress(path)
      if (libc.connect(fd, address, address.byteLength) >= 0) return fd
      const errno = libc.errno()
      libc.close(fd)
      throw nativeError(errno, path)
    },
    socketPair() {
      const pair = new Int32Array(2)
      checked(libc, libc.socketpair(AF_UNIX, SOCKET_TYPE, 0, new Uint8Array(pair.buffer)), 'socketpair')
      return [pair[0] as number, pair[1] as number]
    },
    receive,
    send,
  }
}

function createTransfer(libc: IpcLibc): Pick<HostIpc, 'receive' | 'send'> {
  const head = createMessageHead(libc)
  return {
    receive(socket, into, descriptors) {
      head.describe(into, SCM_MAX_FD)
      const got = libc.recvmsg(socket, head.message, MSG_CMSG_CLOEXEC)
      if (got < 0) {
        const errno = libc.errno()
        if (isTemporary(errno)) return undefined
        throw nativeError(errno, 'recvmsg')
      }
      head.takeDescriptors(descriptors)
      if ((head.flags() & MSG_CTRUNC) !== 0) {
        throw new BlockError('EMFILE', 'descriptors were lost: this process has too many open', { op: 'receive' })
      }
      return got
    },
    send(socket, data, descriptors) {
      head.describe(data, 0)
      head.putDescriptors(descriptors)
      const sent = libc.sendmsg(socket, head.message, MSG_NOSIGNAL)
      if (sent >= 0) return sent
      const errno = libc.errno()
      if (isTemporary(errno)) return undefined
      throw nativeError(errno, 'sendmsg')
    },
  }
}

function listen(libc: IpcLibc, path: string): number {
  const address = socketAddress(path)
  // Only a socket is ever removed, and only one whose owner is gone.
  if (isSocket(path)) {
    if (isLive(libc, address)) {
      throw new BlockError('EADDRINUSE', `${path} is in use by another process`, { op: 'listen' })
    }
    rmSync(path, { force: true })
  }
  const fd = newSocket(libc)
  if (libc.bind(fd, address, address.byteLength) >= 0 && libc.listen(fd, BACKLOG) >= 0) return fd
  const errno = libc.errno()
  libc.close(fd)
  throw nativeError(errno, path)
}

/** Whether somebody answers there. */
function isLive(libc: IpcLibc, address: Uint8Array): boolean {
  const probe = newSocket(libc)
  const refused = libc.connect(probe, address, address.byteLength) < 0 && libc.errno() === ECONNREFUSED
  libc.close(probe)
  return !refused
}

function newSocket(libc: IpcLibc): number {
  return checked(libc, libc.socket(AF_UNIX, SOCKET_TYPE, 0), 'socket')
}

function isTemporary(errno: number): boolean {
  return errno === EAGAIN || errno === EINTR
}

function checked(libc: IpcLibc, result: number, what: string): number {
  if (result < 0) throw nativeError(libc.errno(), what)
  return result
}

/** struct sockaddr_un: family u16, path. */
function socketAddress(path: string): Uint8Array {
  const name = Buffer.from(path)
  if (name.byteLength === 0 || name.byteLength >= PATH_BYTES || name.includes(0)) {
    throw new BlockError('ENAMETOOLONG', `a socket's path has 1 to ${PATH_BYTES - 1} bytes`, { op: 'listen' })
  }
  const address = new Uint8Array(2 + PATH_BYTES)
  address[0] = AF_UNIX
  address.set(name, 2)
  return address
}

function isSocket(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isSocket() === true
}
