// Making and deleting image files.

import { BlockError, toBlockError } from '../../common/error.js'
import { BLK_PERM_ALL, BLK_PERM_RESIZE, BLK_PERM_WRITE } from '../../common/permissions.js'
import { NO_CACHE_DOORS } from './cache-doors.js'
import { openHostPath, refuseOtherThanImage } from './host-open.js'
import { checkImageLocks } from './image-locks.js'
import { truncateFile } from './length.js'
import { describeFile } from './open.js'
import { hostCall, type OpenFile } from './open-file.js'
import type { FileCreateOptions } from './options.js'
import type { FilePlatform } from './platform.js'

/**
 * Makes an image of `options.size` bytes. A file that is there is emptied first, unless somebody uses it (EAGAIN). A new
 * file is removed again where that fails.
 */
export async function createImageFile(
  platform: FilePlatform,
  filename: string,
  options: FileCreateOptions,
): Promise<void> {
  const native = await platform.native()
  const { fd, isNew } = await openOrCreate(platform, filename)
  let file: OpenFile | undefined
  try {
    const stat = await platform.host.stat(fd)
    refuseOtherThanImage(stat, filename, false)
    const alignment = { request: 1, memory: 1 }
    const found = { fd, stat, writable: true, direct: false, alignment, cacheDoors: NO_CACHE_DOORS }
    file = describeFile(platform.host, native, filename, { filename, locking: 'auto' }, found)
    const { locks } = file
    if (locks !== undefined)
      await checkImageLocks(file, locks, BLK_PERM_WRITE | BLK_PERM_RESIZE, BLK_PERM_ALL & ~BLK_PERM_RESIZE)
    await hostCall(file, 'create', (number) => platform.host.truncate(number, 0))
    setAttributes(file, options)
    await truncateFile(file, options.size, { exact: true, preallocation: options.preallocation, flags: 0 })
  } catch (thrown) {
    await closeEither(platform, file, fd)
    if (isNew) await platform.host.unlink(filename).catch(() => {})
    throw toBlockError(thrown, { op: 'create' })
  }
  await file.descriptor.close()
}

/** Deletes an image file. EINVAL for anything but a regular file. */
export async function deleteImageFile(platform: FilePlatform, filename: string): Promise<void> {
  const fd = await openHostPath(platform.host, filename, { writable: false, direct: false })
  try {
    refuseOtherThanImage(await platform.host.stat(fd), filename, false)
    await platform.host.unlink(filename)
  } catch (thrown) {
    throw toBlockError(thrown, { op: 'delete' })
  } finally {
    await platform.host.close(fd)
  }
}

/** The file is made where there is none; whether it was is known for sure, since only one of two makers succeeds. */
async function openOrCreate(platform: FilePlatform, filename: string): Promise<{ fd: number; isNew: boolean }> {
  try {
    return {
      fd: await openHostPath(platform.host, filename, { writable: true, direct: false, create: true }),
      isNew: true,
    }
  } catch (thrown) {
    if (!(thrown instanceof BlockError) || thrown.code !== 'EEXIST') throw thrown
    return { fd: await openHostPath(platform.host, filename, { writable: true, direct: false }), isNew: false }
  }
}

/** Wishes about how the file system keeps the file: where it has no such thing, the image is as good without. */
function setAttributes(file: OpenFile, options: FileCreateOptions): void {
  const attributes = file.native?.attributes
  if (attributes === undefined) return
  const fd = file.descriptor.number
  try {
    if (options.nocow) attributes.disableCopyOnWrite(fd)
    if (options.extent_size_hint > 0) attributes.setExtentSizeHint(fd, options.extent_size_hint)
  } catch {
    // Only btrfs knows the first and only XFS the second.
  }
}

async function closeEither(platform: FilePlatform, file: OpenFile | undefined, fd: number): Promise<void> {
  const closing = file === undefined ? platform.host.close(fd) : file.descriptor.close()
  await closing.catch(() => {
    // The failure that led here is the one to report.
  })
}
