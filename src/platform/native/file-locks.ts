// Open-file-description locks on single bytes (fcntl(2), F_OFD_SETLK and F_OFD_GETLK): they belong to the open file and not
// to the process, so they are neither shared between two opens nor lost when another descriptor is closed.

import { type Libc, nativeError } from './libc.js'

/** Byte locks of an open file. Synchronous: none of them waits for another holder. */
export interface FileLocks {
  /** Takes a shared lock on one byte. Throws EAGAIN where another open file holds it exclusively. */
  lockShared(fd: number, byte: number): void
  unlock(fd: number, byte: number): void
  /** Whether another open file holds any lock on the byte. */
  isLockedElsewhere(fd: number, byte: number): boolean
}

const F_OFD_GETLK = 36
const F_OFD_SETLK = 37
const F_RDLCK = 0
const F_WRLCK = 1
const F_UNLCK = 2

/** Makes the functions for one process. */
export function createFileLocks(libc: Libc): FileLocks {
  // struct flock of 64-bit Linux: type u16 at 0, whence u16 at 2 (0: from the start), start i64 at 8, length i64 at 16,
  // process i32 at 24, which must be 0.
  const flock = new Uint8Array(32)
  const view = new DataView(flock.buffer)

  function control(fd: number, command: number, type: number, byte: number): void {
    flock.fill(0)
    view.setUint16(0, type, true)
    view.setUint32(8, byte, true)
    view.setUint32(16, 1, true)
    if (libc.fcntl(fd, command, flock) < 0) throw nativeError(libc.errno(), 'fcntl')
  }

  return {
    lockShared: (fd, byte) => control(fd, F_OFD_SETLK, F_RDLCK, byte),
    unlock: (fd, byte) => control(fd, F_OFD_SETLK, F_UNLCK, byte),
    isLockedElsewhere: (fd, byte) => {
      control(fd, F_OFD_GETLK, F_WRLCK, byte)
      return view.getUint16(0, true) !== F_UNLCK
    },
  }
}
