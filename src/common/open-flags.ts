// Open flags of a node and the words of the command line that set them.

/** A bit set of `BDRV_O_*`. */
export type OpenFlags = number

export const BDRV_O_NO_SHARE = 0x1
export const BDRV_O_RDWR = 0x2
export const BDRV_O_RESIZE = 0x4
export const BDRV_O_SNAPSHOT = 0x8
export const BDRV_O_TEMPORARY = 0x10
export const BDRV_O_NOCACHE = 0x20
export const BDRV_O_NATIVE_AIO = 0x80
export const BDRV_O_NO_BACKING = 0x100
export const BDRV_O_NO_FLUSH = 0x200
export const BDRV_O_COPY_ON_READ = 0x400
export const BDRV_O_INACTIVE = 0x800
export const BDRV_O_CHECK = 0x1000
export const BDRV_O_ALLOW_RDWR = 0x2000
export const BDRV_O_UNMAP = 0x4000
export const BDRV_O_PROTOCOL = 0x8000
export const BDRV_O_NO_IO = 0x10000
export const BDRV_O_AUTO_RDONLY = 0x20000
export const BDRV_O_IO_URING = 0x40000
export const BDRV_O_CACHE_MASK = BDRV_O_NOCACHE | BDRV_O_NO_FLUSH

/** A cache mode: node flags, and whether the backend writes through (a property of the backend, not of the node). */
export interface CacheMode {
  flags: OpenFlags
  writethrough: boolean
}

/** Parses `none`, `off`, `directsync`, `writeback`, `unsafe` or `writethrough`; undefined for another word. */
export function parseCacheMode(word: string): CacheMode | undefined {
  switch (word) {
    case 'none':
    case 'off':
      return { flags: BDRV_O_NOCACHE, writethrough: false }
    case 'directsync':
      return { flags: BDRV_O_NOCACHE, writethrough: true }
    case 'writeback':
      return { flags: 0, writethrough: false }
    case 'unsafe':
      return { flags: BDRV_O_NO_FLUSH, writethrough: false }
    case 'writethrough':
      return { flags: 0, writethrough: true }
    default:
      return undefined
  }
}

/** Parses a discard mode (`off`, `ignore`, `on`, `unmap`) into node flags; undefined for another word. */
export function parseDiscardFlags(word: string): OpenFlags | undefined {
  if (word === 'off' || word === 'ignore') return 0
  if (word === 'on' || word === 'unmap') return BDRV_O_UNMAP
  return undefined
}

/** Parses an aio mode (`threads`, `native`, `io_uring`, `inline`) into node flags; undefined for another word. */
export function parseAio(word: string): OpenFlags | undefined {
  if (word === 'threads' || word === 'inline') return 0
  if (word === 'native') return BDRV_O_NATIVE_AIO
  if (word === 'io_uring') return BDRV_O_IO_URING
  return undefined
}
