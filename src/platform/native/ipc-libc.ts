// Functions of the C library for sockets, memory and events, through koffi: what the file calls need stands in libc.ts, so
// that tools which only open images do not pay for these.

import { endianness } from 'node:os'

type Koffi = typeof import('koffi')['default']

/** The functions that are used. Pointers are addresses, or arrays whose memory is handed over. */
export interface IpcLibc {
  socket(domain: number, type: number, protocol: number): number
  socketpair(domain: number, type: number, protocol: number, pair: Uint8Array): number
  bind(fd: number, address: Uint8Array, bytes: number): number
  listen(fd: number, backlog: number): number
  accept4(fd: number, address: number, bytes: number, flags: number): number
  connect(fd: number, address: Uint8Array, bytes: number): number
  recvmsg(fd: number, message: Uint8Array, flags: number): number
  sendmsg(fd: number, message: Uint8Array, flags: number): number
  read(fd: number, into: Uint8Array, bytes: number): number
  write(fd: number, data: Uint8Array, bytes: number): number
  close(fd: number): number
  fcntl(fd: number, command: number, argument: number): number
  mmap(address: number, bytes: number, protection: number, flags: number, fd: number, offset: number): number
  munmap(address: number, bytes: number): number
  memfdCreate(name: string, flags: number): number
  ftruncate(fd: number, bytes: number): number
  eventfd(value: number, flags: number): number
  epollCreate(flags: number): number
  epollControl(epoll: number, operation: number, fd: number, event: Uint8Array): number
  errno(): number
  /** Where the first byte of `view` is. */
  address(view: Uint8Array): number
  /** A buffer over memory that is not the engine's. */
  view(address: number, bytes: number): ArrayBuffer
  /** Waits for a descriptor on the event loop. */
  poll(fd: number, writable: boolean, callback: () => void): { close(): void }
}

let loading: Promise<IpcLibc | undefined> | undefined

/** The functions, or undefined where native calls are off, koffi is not installed or too old, or the host is unknown. */
export function loadIpcLibc(): Promise<IpcLibc | undefined> {
  loading ??= load()
  return loading
}

async function load(): Promise<IpcLibc | undefined> {
  const known = process.platform === 'linux' && (process.arch === 'x64' || process.arch === 'arm64')
  if (!known || endianness() !== 'LE' || process.env.BLOCKGRAPH_NATIVE === 'off') return undefined
  try {
    const { default: koffi } = await import('koffi')
    return koffi.node?.poll === undefined ? undefined : bind(koffi)
  } catch {
    // Not installed, or built for another host: the caller says what is missing without it.
    return undefined
  }
}

function bind(koffi: Koffi): IpcLibc {
  const library = koffi.load(null)
  return {
    socket: library.func('int socket(int domain, int type, int protocol)'),
    socketpair: library.func('int socketpair(int domain, int type, int protocol, void *pair)'),
    bind: library.func('int bind(int fd, void *address, unsigned int bytes)'),
    listen: library.func('int listen(int fd, int backlog)'),
    accept4: library.func('int accept4(int fd, uintptr_t address, uintptr_t bytes, int flags)'),
    connect: library.func('int connect(int fd, void *address, unsigned int bytes)'),
    recvmsg: library.func('int64_t recvmsg(int fd, void *message, int flags)'),
    sendmsg: library.func('int64_t sendmsg(int fd, void *message, int flags)'),
    read: library.func('int64_t read(int fd, void *into, size_t bytes)'),
    write: library.func('int64_t write(int fd, void *data, size_t bytes)'),
    close: library.func('int close(int fd)'),
    fcntl: library.func('int fcntl(int fd, int command, intptr_t argument)'),
    mmap: library.func(
      'intptr_t mmap(uintptr_t address, size_t bytes, int protection, int flags, int fd, int64_t offset)',
    ),
    munmap: library.func('int munmap(uintptr_t address, size_t bytes)'),
    memfdCreate: library.func('int memfd_create(const char *name, unsigned int flags)'),
    ftruncate: library.func('int ftruncate(int fd, int64_t bytes)'),
    eventfd: library.func('int eventfd(unsigned int value, int flags)'),
    epollCreate: library.func('int epoll_create1(int flags)'),
    epollControl: library.func('int epoll_ctl(int epoll, int operation, int fd, void *event)'),
    errno: () => koffi.errno(),
    address: (view) => Number(koffi.address(view)),
    view: (address, bytes) => koffi.view(BigInt(address), bytes),
    poll: (fd, writable, callback) => koffi.node.poll(fd, { readable: !writable, writable }, callback),
  }
}
