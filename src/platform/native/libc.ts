// The C library through koffi, an optional peer: loaded lazily, once, and only where its structures are known to us
// (64-bit little-endian Linux). The environment variable BLOCKGRAPH_NATIVE=off turns it off for a whole process.

import { endianness } from 'node:os'
import { type ErrnoName, errnoMessage, errnoName } from '../../common/errno.js'
import { BlockError } from '../../common/error.js'

/** A C function: called at once, or on a thread of the pool by `async` (`done` is called on the main thread). */
export interface NativeFunction<A extends (number | Uint8Array)[]> {
  (...args: A): number
  async(...args: [...A, (error: Error | null, result: number) => void]): void
}

/** The functions of the C library that are used, and what goes with them. */
export interface Libc {
  /** `iov` is the address of an iovec array. */
  preadv2: NativeFunction<[fd: number, iov: number, count: number, offset: number, flags: number]>
  /** As for `preadv2`. */
  pwritev2: NativeFunction<[fd: number, iov: number, count: number, offset: number, flags: number]>
  lseek: NativeFunction<[fd: number, offset: number, whence: number]>
  fallocate: NativeFunction<[fd: number, mode: number, offset: number, bytes: number]>
  copyFileRange: NativeFunction<
    [
      sourceFd: number,
      sourceOffset: Uint8Array,
      targetFd: number,
      targetOffset: Uint8Array,
      bytes: number,
      flags: number,
    ]
  >
  fcntl: NativeFunction<[fd: number, command: number, lock: Uint8Array]>
  ioctl: NativeFunction<[fd: number, request: number, argument: Uint8Array]>
  /** errno of the call just made; inside a callback of `async`, of that call. */
  errno(): number
  /** Where the first byte of `view` is. Stays true until its buffer is detached. */
  address(view: Uint8Array): number
}

let loading: Promise<Libc | undefined> | undefined

/** The C library, or undefined where native calls are off, koffi is not installed, or the host is not one we know. */
export function loadLibc(): Promise<Libc | undefined> {
  loading ??= load()
  return loading
}

async function load(): Promise<Libc | undefined> {
  const known = process.platform === 'linux' && (process.arch === 'x64' || process.arch === 'arm64')
  if (!known || endianness() !== 'LE' || process.env.BLOCKGRAPH_NATIVE === 'off') return undefined
  try {
    const { default: koffi } = await import('koffi')
    const library = koffi.load(null)
    return {
      preadv2: library.func('int64_t preadv2(int fd, uintptr_t iov, int count, int64_t offset, int flags)'),
      pwritev2: library.func('int64_t pwritev2(int fd, uintptr_t iov, int count, int64_t offset, int flags)'),
      lseek: library.func('int64_t lseek(int fd, int64_t offset, int whence)'),
      fallocate: library.func('int fallocate(int fd, int mode, int64_t offset, int64_t bytes)'),
      copyFileRange: library.func(
        'int64_t copy_file_range(int in, void *inOffset, int out, void *outOffset, size_t bytes, unsigned int flags)',
      ),
      fcntl: library.func('int fcntl(int fd, int command, void *lock)'),
      ioctl: library.func('int ioctl(int fd, unsigned long request, void *argument)'),
      errno: () => koffi.errno(),
      address: (view) => Number(koffi.address(view)),
    }
  } catch {
    // Not installed, or built for another host: the caller says what is missing without it.
    return undefined
  }
}

/** Linux EOPNOTSUPP has the number of ENOTSUP. */
export function nativeError(errno: number, what: string): BlockError {
  const code: ErrnoName = errnoName(errno)
  return new BlockError(code, `${what}: ${errnoMessage(code)}`)
}
