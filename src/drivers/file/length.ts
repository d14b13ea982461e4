// Length of a file, changing it, and how much the host has allocated.

import { BlockError } from '../../common/error.js'
import { MAX_LENGTH } from '../../common/limits.js'
import type { Preallocation } from '../../common/option-names.js'
import { alignUp, MiB } from '../../common/units.js'
import type { TruncateOptions } from '../../io/node-io.js'
import { alignedBuffer, releaseAlignedBuffer } from '../../platform/aligned-buffer.js'
import { hostCall, type OpenFile } from './open-file.js'
import { writeByPool } from './transfer.js'

/** Current length in bytes, asked of the host. EFBIG beyond the cap of the library. */
export async function fileLength(file: OpenFile): Promise<number> {
  const length =
    file.device === undefined
      ? (await hostCall(file, 'length', (fd) => file.host.stat(fd))).size
      : await deviceLength(file)
  if (length > MAX_LENGTH) {
    throw new BlockError('EFBIG', `its length exceeds ${MAX_LENGTH} bytes`, { node: file.nodeName, op: 'length' })
  }
  return length
}

/** Bytes allocated on the host. */
export async function fileAllocatedSize(file: OpenFile): Promise<number> {
  return (await hostCall(file, 'info', (fd) => file.host.stat(fd))).allocated
}

/**
 * Sets the length. Grown space reads as zeroes; `falloc` allocates it, `full` writes zeroes into it; both undo themselves
 * when they fail. ENOTSUP for `metadata`, for preallocation of a file that shrinks, and for a device.
 */
export async function truncateFile(file: OpenFile, length: number, options: TruncateOptions): Promise<void> {
  const { preallocation } = options
  const current = await fileLength(file)
  if (file.device !== undefined) return truncateDevice(file, current, length, options)
  if (preallocation !== 'off' && length < current) {
    throw refusal(file, 'Cannot use preallocation for shrinking files')
  }
  if (preallocation === 'metadata') throw refusal(file, 'Unsupported preallocation mode: metadata')
  if (length === current) return
  if (preallocation === 'off') return hostCall(file, 'truncate', (fd) => file.host.truncate(fd, length))
  await preallocate(file, current, length, preallocation)
}

async function preallocate(file: OpenFile, current: number, length: number, mode: Preallocation): Promise<void> {
  const { native } = file
  if (mode === 'falloc' && native === undefined) {
    throw refusal(file, 'preallocation mode falloc needs native calls (install koffi)')
  }
  try {
    if (mode === 'falloc' && native !== undefined) {
      await hostCall(file, 'truncate', (fd) => native.space.allocate(fd, current, length - current))
    } else {
      await fillWithZeroes(file, current, length)
    }
  } catch (error) {
    await hostCall(file, 'truncate', (fd) => file.host.truncate(fd, current)).catch(() => {
      // The first failure is the one to report; a file left longer still reads as zeroes there.
    })
    throw error
  }
}

async function fillWithZeroes(file: OpenFile, current: number, length: number): Promise<void> {
  const unit = file.requestAlignment
  if (current % unit !== 0) {
    throw refusal(file, 'with direct I/O a file of unaligned length cannot be preallocated in full')
  }
  await hostCall(file, 'truncate', (fd) => file.host.truncate(fd, length))
  const zeroes = alignedBuffer(MiB)
  try {
    for (let at = current; at < length; at += zeroes.length) {
      await writeByPool(file, zeroes.subarray(0, Math.min(zeroes.length, alignUp(length - at, unit))), 0, at)
    }
  } finally {
    releaseAlignedBuffer(zeroes)
  }
  // Direct I/O writes whole blocks; what overhangs the new end is cut off again.
  if (length % unit !== 0) await hostCall(file, 'truncate', (fd) => file.host.truncate(fd, length))
  await hostCall(file, 'truncate', (fd) => file.host.sync(fd))
}

async function truncateDevice(
  file: OpenFile,
  current: number,
  length: number,
  options: TruncateOptions,
): Promise<void> {
  if (options.preallocation !== 'off') throw refusal(file, 'a device cannot be preallocated')
  if (length > current) {
    throw new BlockError('EINVAL', 'a device cannot grow', { node: file.nodeName, op: 'truncate' })
  }
  if (options.exact && length !== current) throw refusal(file, 'a device cannot be resized')
}

async function deviceLength(file: OpenFile): Promise<number> {
  const { native, device } = file
  if (native !== undefined) return native.space.seekEnd(file.descriptor.number)
  // The host counts units of 512 bytes here, whatever the device's blocks are.
  const text = await file.host.readText(`/sys/dev/block/${device}/size`)
  return Number(text.trim()) * 512
}

function refusal(file: OpenFile, message: string): BlockError {
  return new BlockError('ENOTSUP', message, { node: file.nodeName, op: 'truncate' })
}
