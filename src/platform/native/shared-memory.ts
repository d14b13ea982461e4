// Memory shared with other processes (mmap(2), memfd_create(2)). A buffer over a mapping cannot be taken back from those who
// have it, so at the end anonymous memory is put in its place, and the range is given back when the last buffer is gone.

import { fstatSync } from 'node:fs'
import type { HostIpc, SharedMapping } from '../../common/host-ipc.js'
import { alignDown, alignUp } from '../../common/units.js'
import type { IpcLibc } from './ipc-libc.js'
import { nativeError } from './libc.js'

const PROT_READ_WRITE = 3
const MAP_SHARED = 1
const MAP_PRIVATE = 2
const MAP_FIXED = 0x10
const MAP_ANONYMOUS = 0x20
const MAP_NORESERVE = 0x4000
const MFD_CLOEXEC = 1
const MFD_ALLOW_SEALING = 2
const F_ADD_SEALS = 1033
const F_GET_SEALS = 1034
const F_SEAL_SEAL = 1
const F_SEAL_SHRINK = 2
const F_SEAL_GROW = 4
const PAGE = 4096

/** The part of {@link HostIpc} about memory. */
export type SharedMemory = Pick<HostIpc, 'describe' | 'map' | 'createMemory'>

/** A range of addresses and how many buffers there are over it. */
interface Range {
  address: number
  bytes: number
  views: number
  ended: boolean
}

/** Makes the functions for one process. */
export function createSharedMemory(libc: IpcLibc): SharedMemory {
  const collected = new FinalizationRegistry<Range>((range) => {
    range.views--
    giveBack(range)
  })

  function giveBack(range: Range): void {
    if (range.ended && range.views === 0) libc.munmap(range.address, range.bytes)
  }

  function makeMapping(range: Range, lead: number, bytes: number): SharedMapping {
    return {
      bytes,
      view(start, length) {
        const buffer = libc.view(range.address + lead + start, length)
        range.views++
        collected.register(buffer, range)
        return buffer
      },
      unmap() {
        if (range.ended) return
        range.ended = true
        const flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED
        if (range.views > 0) libc.mmap(range.address, range.bytes, PROT_READ_WRITE, flags, -1, 0)
        giveBack(range)
      },
    }
  }

  return {
    describe(fd) {
      const stat = fstatSync(fd)
      const seals = libc.fcntl(fd, F_GET_SEALS, 0)
      return {
        size: stat.size,
        isFile: stat.isFile(),
        cannotShrink: seals >= 0 && (seals & F_SEAL_SHRINK) !== 0,
      }
    },
    map(fd, offset, bytes) {
      // Of huge pages a block of the file is one, and mappings are made of them whole.
      const page = Math.max(fstatSync(fd).blksize, PAGE)
      const start = alignDown(offset, page)
      const length = alignUp(offset + bytes - start, page)
      const address = libc.mmap(0, length, PROT_READ_WRITE, MAP_SHARED | MAP_NORESERVE, fd, start)
      if (address === -1) throw nativeError(libc.errno(), 'mmap')
      return makeMapping({ address, bytes: length, views: 0, ended: false }, offset - start, bytes)
    },
    createMemory(name, bytes) {
      const fd = libc.memfdCreate(name, MFD_CLOEXEC | MFD_ALLOW_SEALING)
      if (fd < 0) throw nativeError(libc.errno(), 'memfd_create')
      const sealed =
        libc.ftruncate(fd, bytes) >= 0 && libc.fcntl(fd, F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL) >= 0
      if (sealed) return fd
      const errno = libc.errno()
      libc.close(fd)
      throw nativeError(errno, 'memfd_create')
    },
  }
}
