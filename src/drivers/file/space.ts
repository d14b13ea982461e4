// Zeroes, discard, block status and copies: what the host can do without moving the data through us. Without native calls
// these methods are left out (status aside), and dispatch falls back to writing zeroes or to nothing.

import { BDRV_BLOCK_DATA, BDRV_BLOCK_OFFSET_VALID, BDRV_BLOCK_ZERO } from '../../common/block-status.js'
import { BlockError } from '../../common/error.js'
import { BDRV_REQ_MAY_UNMAP, BDRV_REQ_NO_FALLBACK, type RequestFlags } from '../../common/request.js'
import { alignDown, alignUp } from '../../common/units.js'
import type { CopySource, StatusExtent, StatusMode } from '../../io/node-io.js'
import type { FileSpace } from '../../platform/native/file-space.js'
import { fileError, hostCall, type OpenFile, openFileOf } from './open-file.js'

/** Makes a range zero: a hole where MAY_UNMAP allows, else allocated zeroes. ENOTSUP where the file system has neither. */
export async function writeZeroesToFile(
  file: OpenFile,
  space: FileSpace,
  offset: number,
  bytes: number,
  flags: RequestFlags,
): Promise<void> {
  if ((flags & BDRV_REQ_MAY_UNMAP) !== 0 && !isGrowing(file, space, offset, bytes)) {
    if (await punchHole(file, space, offset, bytes, 'write-zeroes')) return
  }
  if (await zeroRange(file, space, offset, bytes)) return
  // A hole that is allocated again reads as zeroes too, in two steps.
  if ((flags & BDRV_REQ_NO_FALLBACK) === 0 && (await punchHole(file, space, offset, bytes, 'write-zeroes'))) {
    await hostCall(file, 'write-zeroes', (fd) => space.allocate(fd, offset, bytes))
    return
  }
  throw unsupported(file, 'write-zeroes')
}

/** Makes a range a hole. ENOTSUP where the file system has no holes. */
export async function discardFromFile(file: OpenFile, space: FileSpace, offset: number, bytes: number): Promise<void> {
  if (!(await punchHole(file, space, offset, bytes, 'discard'))) throw unsupported(file, 'discard')
}

/** Whether a range ends behind the end of the file: a hole would not move it there. */
function isGrowing(file: OpenFile, space: FileSpace, offset: number, bytes: number): boolean {
  return offset + bytes > space.seekEnd(file.descriptor.number)
}

/** What the file has at `offset`: data or a hole. Without native calls everything is data unless nothing is allocated. */
export function fileStatus(
  file: OpenFile,
  offset: number,
  bytes: number,
  mode: StatusMode,
): StatusExtent | Promise<StatusExtent> {
  if (mode === 'fast') return dataExtent(offset, bytes)
  if (file.native === undefined) return statusByAllocation(file, offset, bytes)
  const { space } = file.native
  const fd = file.descriptor.number
  try {
    const data = space.seekData(fd, offset)
    if (data === undefined) return holeExtent(offset, bytes)
    if (data > offset) return aligned(file, holeExtent(offset, data - offset), false)
    const hole = space.seekHole(fd, offset)
    return hole === undefined || hole <= offset
      ? dataExtent(offset, bytes)
      : aligned(file, dataExtent(offset, hole - offset), true)
  } catch (thrown) {
    // A file system without holes says EINVAL: all of it is data.
    const error = fileError(file, 'block-status', thrown)
    if (error.code === 'EINVAL') return dataExtent(offset, bytes)
    throw error
  }
}

/** Copies inside the host. ENOTSUP where the source is no file of this driver or the host cannot. */
export async function copyIntoFile(
  file: OpenFile,
  space: FileSpace,
  source: CopySource,
  sourceOffset: number,
  offset: number,
  bytes: number,
): Promise<void> {
  const from = openFileOf(source.node.io)
  if (from === undefined) throw unsupported(file, 'copy-range')
  for (let done = 0; done < bytes; ) {
    const copied = await copyOnce(file, from, (sourceFd, fd) =>
      space.copyRange(sourceFd, sourceOffset + done, fd, offset + done, bytes - done),
    )
    // The source ended before its cached length did: the engine's copy through memory reads zeroes there.
    if (copied === 0) throw unsupported(file, 'copy-range')
    done += copied
  }
}

function copyOnce(
  file: OpenFile,
  from: OpenFile,
  call: (sourceFd: number, fd: number) => Promise<number>,
): Promise<number> {
  return hostCall(file, 'copy-range', async (fd) => {
    const { descriptor } = from
    const sourceFd = descriptor.enter()
    try {
      return await call(sourceFd, fd)
    } catch (thrown) {
      const error = fileError(file, 'copy-range', thrown)
      // Kernels say in these ways that two files have no common ground.
      if (['EXDEV', 'ENOSYS', 'EINVAL', 'EBADF'].includes(error.code)) throw unsupported(file, 'copy-range')
      throw error
    } finally {
      descriptor.leave()
    }
  })
}

/** False where the file system cannot. */
async function punchHole(
  file: OpenFile,
  space: FileSpace,
  offset: number,
  bytes: number,
  op: 'discard' | 'write-zeroes',
): Promise<boolean> {
  if (file.lacksPunchHole) return false
  const outcome = await attempt(file, op, (fd) => space.punchHole(fd, offset, bytes))
  if (outcome === 'lacking') file.lacksPunchHole = true
  return outcome === 'done'
}

async function zeroRange(file: OpenFile, space: FileSpace, offset: number, bytes: number): Promise<boolean> {
  if (file.lacksZeroRange) return false
  const outcome = await attempt(file, 'write-zeroes', (fd) => space.zeroRange(fd, offset, bytes))
  if (outcome === 'lacking') file.lacksZeroRange = true
  return outcome === 'done'
}

async function attempt(
  file: OpenFile,
  op: string,
  call: (fd: number) => Promise<void>,
): Promise<'done' | 'refused' | 'lacking'> {
  try {
    await hostCall(file, op, call)
    return 'done'
  } catch (error) {
    if (!(error instanceof BlockError)) throw error
    if (error.code === 'ENOTSUP' || error.code === 'ENOSYS') return 'lacking'
    // Devices and some file systems do not take this range, since it is not aligned for them; they may take the next.
    if (error.code === 'EINVAL') return 'refused'
    throw error
  }
}

async function statusByAllocation(file: OpenFile, offset: number, bytes: number): Promise<StatusExtent> {
  const stat = await hostCall(file, 'block-status', (fd) => file.host.stat(fd))
  return stat.kind === 'file' && stat.allocated === 0 ? holeExtent(offset, bytes) : dataExtent(offset, bytes)
}

/** An extent ends on a multiple of the request alignment: data rounds up, a hole down (but to one unit at least). */
function aligned(file: OpenFile, extent: StatusExtent, up: boolean): StatusExtent {
  const unit = file.requestAlignment
  if (unit === 1 || extent.bytes % unit === 0) return extent
  const bytes = up ? alignUp(extent.bytes, unit) : alignDown(extent.bytes, unit)
  return bytes === 0 ? dataExtent(extent.map ?? 0, unit) : { ...extent, bytes }
}

function dataExtent(offset: number, bytes: number): StatusExtent {
  return { bits: BDRV_BLOCK_DATA | BDRV_BLOCK_OFFSET_VALID, bytes, map: offset }
}

function holeExtent(offset: number, bytes: number): StatusExtent {
  return { bits: BDRV_BLOCK_ZERO | BDRV_BLOCK_OFFSET_VALID, bytes, map: offset }
}

function unsupported(file: OpenFile, op: string): BlockError {
  return new BlockError('ENOTSUP', 'the host cannot do this for the file', { node: file.nodeName, op })
}
