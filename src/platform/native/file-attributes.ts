// Attributes that a file is given when it is made: no copy-on-write (btrfs) and a hint for the size of extents (XFS), by
// the ioctls of linux/fs.h. File systems that know neither refuse, and the caller goes on.

import { type Libc, nativeError } from './libc.js'

/** Attributes of a new, empty file. They throw a BlockError where the file system has no such thing. */
export interface FileAttributes {
  disableCopyOnWrite(fd: number): void
  /** `bytes` is a multiple of the file system's block size. */
  setExtentSizeHint(fd: number, bytes: number): void
}

const FS_IOC_GETFLAGS = 0x80086601
const FS_IOC_SETFLAGS = 0x40086602
const FS_NOCOW_FL = 0x00800000
const FS_IOC_FSGETXATTR = 0x801c581f
const FS_IOC_FSSETXATTR = 0x401c5820
const FS_XFLAG_EXTSIZE = 0x00000800

/** Makes the functions for one process. */
export function createFileAttributes(libc: Libc): FileAttributes {
  function control(fd: number, request: number, argument: Uint8Array): DataView {
    if (libc.ioctl(fd, request, argument) < 0) throw nativeError(libc.errno(), 'ioctl')
    return new DataView(argument.buffer)
  }

  return {
    disableCopyOnWrite(fd) {
      const flags = new Uint8Array(8)
      const view = control(fd, FS_IOC_GETFLAGS, flags)
      view.setUint32(0, view.getUint32(0, true) | FS_NOCOW_FL, true)
      control(fd, FS_IOC_SETFLAGS, flags)
    },
    setExtentSizeHint(fd, bytes) {
      // struct fsxattr: flags u32 at 0, extent size u32 at 4; 28 bytes in all.
      const attributes = new Uint8Array(28)
      const view = control(fd, FS_IOC_FSGETXATTR, attributes)
      view.setUint32(0, view.getUint32(0, true) | FS_XFLAG_EXTSIZE, true)
      view.setUint32(4, bytes, true)
      control(fd, FS_IOC_FSSETXATTR, attributes)
    },
  }
}
