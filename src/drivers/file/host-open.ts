// Opening a path of the host: once, then fstat. What the name stood for a moment ago or will stand for next does not matter.

import { constants } from 'node:fs'
import { BlockError, quoteOutside, toBlockError } from '../../common/error.js'
import type { HostFile, HostStat } from '../../platform/host-file.js'

/** How a path is opened. */
export interface HostOpenOptions {
  writable: boolean
  /** Bypass the host's cache. */
  direct: boolean
  /** Create the file; fails where there is one. */
  create?: boolean
}

const MAX_PATH_BYTES = 4095

/** Opens `path`. Rejects with the host's code; EINVAL where the file system has no direct I/O. */
export async function openHostPath(host: HostFile, path: string, options: HostOpenOptions): Promise<number> {
  checkPath(path)
  // O_NONBLOCK: opening a fifo would wait for its other end and hold up a thread of the pool; files do not mind it.
  let flags = constants.O_NONBLOCK | constants.O_NOCTTY
  flags |= options.writable ? constants.O_RDWR : constants.O_RDONLY
  if (options.direct) flags |= directFlag()
  if (options.create === true) flags |= constants.O_CREAT | constants.O_EXCL
  try {
    return await host.open(path, flags, 0o644)
  } catch (thrown) {
    const error = toBlockError(thrown)
    const why = options.direct && error.code === 'EINVAL' ? ': its file system has no direct I/O' : ''
    throw new BlockError(error.code, `Could not open ${quoteOutside(path)}${why}: ${describeFailure(error)}`, {
      op: 'open',
      cause: thrown,
    })
  }
}

/** Throws unless this is a regular file, or a block device where those are allowed. */
export function refuseOtherThanImage(stat: HostStat, path: string, allowDevice: boolean): void {
  if (stat.kind === 'file' || (stat.kind === 'block-device' && allowDevice)) return
  const name = quoteOutside(path)
  if (stat.kind === 'block-device') {
    throw new BlockError('EINVAL', `${name} is a block device`, {
      op: 'open',
      hint: "set the option 'host-device' to use it as an image",
    })
  }
  const what = {
    directory: 'a directory',
    fifo: 'a fifo',
    socket: 'a socket',
    'character-device': 'a character device',
  }
  const found = stat.kind === 'unknown' ? 'no regular file' : what[stat.kind]
  throw new BlockError(stat.kind === 'directory' ? 'EISDIR' : 'EINVAL', `${name} is ${found}, not an image`, {
    op: 'open',
  })
}

/** Throws EINVAL or ENAMETOOLONG for a name that no image should have. */
export function checkPath(path: string): void {
  if (path === '') throw new BlockError('EINVAL', 'the file name is empty', { op: 'open' })
  for (const char of path) {
    const point = char.codePointAt(0) ?? 0
    if (point < 0x20 || point === 0x7f || (point >= 0xd800 && point < 0xe000)) {
      throw new BlockError('EINVAL', `the file name ${quoteOutside(path)} has a character that is not allowed`, {
        op: 'open',
      })
    }
  }
  if (new TextEncoder().encode(path).length > MAX_PATH_BYTES) {
    throw new BlockError('ENAMETOOLONG', `the file name ${quoteOutside(path)} is too long`, { op: 'open' })
  }
}

function directFlag(): number {
  const { O_DIRECT } = constants as { O_DIRECT?: number }
  if (O_DIRECT === undefined) throw new BlockError('ENOTSUP', 'this host has no direct I/O', { op: 'open' })
  return O_DIRECT
}

function describeFailure(error: BlockError): string {
  // Node's messages name the call and the path once more; the words for the code say enough.
  const said = /^[A-Z0-9]+: ([^,]*)/.exec(error.message)?.[1]
  return said === undefined ? error.message : said.charAt(0).toUpperCase() + said.slice(1)
}
