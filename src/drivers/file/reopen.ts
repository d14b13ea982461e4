// Reopening with other access: a second descriptor of the same inode is opened and locked in prepare and takes over in
// commit. It is reached through the first one, so a name that means another file by now cannot slip in.

import { BlockError, toBlockError } from '../../common/error.js'
import { BDRV_O_NOCACHE } from '../../common/open-flags.js'
import type { PreparedChange, ReopenContext } from '../../global-state/driver.js'
import { background } from '../../io/background.js'
import { NO_CACHE_DOORS } from './cache-doors.js'
import { Descriptor } from './descriptor.js'
import { openHostPath } from './host-open.js'
import { dropImageLocks, handOverImageLocks, mirrorImageLocks } from './image-locks.js'
import { directAlignment } from './open.js'
import type { OpenFile } from './open-file.js'
import type { FileOptions, fileOptions } from './options.js'

/** Stages a change of access or cache mode. EINVAL where options differ that belong to the open file. */
export async function prepareFileReopen(
  file: OpenFile,
  context: ReopenContext<typeof fileOptions>,
): Promise<PreparedChange> {
  refuseChangedOptions(file, context.options, context.oldOptions)
  const writable = !context.readOnly
  const direct = (context.openFlags & BDRV_O_NOCACHE) !== 0
  if (writable === file.writable && direct === file.direct) return { commit: () => {}, abort: () => {} }
  const fd = await openAgain(file, writable, direct)
  const descriptor = new Descriptor(file.host, fd)
  try {
    const alignment = await directAlignment(file.host, fd, direct)
    if (file.locks !== undefined) mirrorImageLocks(file.locks, fd)
    return {
      commit() {
        const old = file.descriptor
        file.descriptor = descriptor
        file.writable = writable
        file.direct = direct
        file.requestAlignment = alignment.request
        file.memoryAlignment = alignment.memory
        file.doors = direct ? NO_CACHE_DOORS : file.cacheDoors
        if (file.locks !== undefined) {
          handOverImageLocks(file.locks, fd)
          dropImageLocks(file.locks, old.number)
        }
        background(context.node, old.close())
      },
      abort() {
        if (file.locks !== undefined) dropImageLocks(file.locks, fd)
        background(context.node, descriptor.close())
      },
    }
  } catch (thrown) {
    await descriptor.close()
    throw toBlockError(thrown, { node: file.nodeName, op: 'reopen' })
  }
}

async function openAgain(file: OpenFile, writable: boolean, direct: boolean): Promise<number> {
  const { host, descriptor, identity, path } = file
  try {
    return await openHostPath(host, `/proc/self/fd/${descriptor.number}`, { writable, direct })
  } catch (thrown) {
    const error = toBlockError(thrown)
    if (error.code !== 'ENOENT')
      throw new BlockError(error.code, error.message, { node: file.nodeName, op: 'reopen', cause: thrown })
  }
  // No /proc here: by name, and only if it still is the same file.
  const fd = await openHostPath(host, path, { writable, direct })
  try {
    const stat = await host.stat(fd)
    if (stat.inode === identity.inode && stat.device === identity.device) return fd
    throw new BlockError('ESTALE', 'its name stands for another file by now')
  } catch (thrown) {
    await host.close(fd)
    throw toBlockError(thrown, { node: file.nodeName, op: 'reopen' })
  }
}

function refuseChangedOptions(file: OpenFile, options: FileOptions, old: FileOptions): void {
  for (const name of ['filename', 'locking', 'aio', 'native', 'host-device'] as const) {
    if (options[name] === old[name]) continue
    throw new BlockError('EINVAL', `option '${name}' cannot be changed`, { node: file.nodeName, op: 'reopen' })
  }
}
