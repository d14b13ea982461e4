// The first stage: whether a request is allowed at all. Everything here is a typed error that always runs; nothing is
// counted yet. What can change while a request waits (permissions, length, bitmaps) is asked again by `prepareWrite`.

import { checkOffsetBytes } from '../../common/check-request.js'
import { BlockError } from '../../common/error.js'
import { BDRV_REQUEST_MAX_BYTES } from '../../common/limits.js'
import { BDRV_O_INACTIVE, BDRV_O_NO_IO, BDRV_O_RDWR } from '../../common/open-flags.js'
import { BLK_PERM_RESIZE, BLK_PERM_WRITE, BLK_PERM_WRITE_UNCHANGED } from '../../common/permissions.js'
import {
  BDRV_REQ_COPY_ON_READ,
  BDRV_REQ_MASK,
  BDRV_REQ_NO_WAIT,
  BDRV_REQ_PREFETCH,
  BDRV_REQ_REGISTERED_BUF,
  BDRV_REQ_SERIALISING,
  BDRV_REQ_WRITE_UNCHANGED,
  type RequestFlags,
} from '../../common/request.js'
import type { Offset } from '../../common/units.js'
import type { BlockChild, BlockDriverState } from '../block-node.js'
import type { RequestState } from '../request-state.js'

/** Flags a read may carry. */
export const READ_FLAGS = BDRV_REQ_COPY_ON_READ | BDRV_REQ_PREFETCH
/** Open flags that decide whether a node takes writes, and the one state in which it does. */
export const WRITE_OPEN_FLAGS = BDRV_O_RDWR | BDRV_O_INACTIVE | BDRV_O_NO_IO

/** Throws unless the node is open: ENOMEDIUM. */
export function checkOpen(node: BlockDriverState, op: string): void {
  if (node.closed) throw new BlockError('ENOMEDIUM', 'the node is closed', { node: node.nodeName, op })
}

/** Throws EINVAL for what is no range, EFBIG for one that ends beyond MAX_LENGTH. */
export function checkRange(node: BlockDriverState, offset: Offset, bytes: number, op: string): void {
  checkOffsetBytes(offset, bytes, { node: node.nodeName, op })
}

/** Throws unless a bounded request (one with a buffer) is well-formed and its node open. */
export function checkData(node: BlockDriverState, offset: Offset, bytes: number, op: string): void {
  checkOpen(node, op)
  checkRange(node, offset, bytes, op)
  if (bytes > BDRV_REQUEST_MAX_BYTES) {
    throw invalid(node, `${bytes} bytes in one request; ${BDRV_REQUEST_MAX_BYTES} are the most`, op)
  }
}

/** Throws unless a read is well-formed. Its range may exceed the node: what lies behind the end reads as zeroes. */
export function checkRead(node: BlockDriverState, offset: Offset, bytes: number, flags: RequestFlags): void {
  checkData(node, offset, bytes, 'read')
  if ((flags & ~READ_FLAGS) !== 0) throw invalid(node, `flags 0x${flags.toString(16)} do not apply to a read`, 'read')
}

/** Throws unless a write's flags are known ones that go together. */
export function checkWriteFlags(node: BlockDriverState, flags: RequestFlags, op: string): void {
  if ((flags & ~(BDRV_REQ_MASK & ~BDRV_REQ_REGISTERED_BUF)) !== 0)
    throw invalid(node, `unknown request flags 0x${flags.toString(16)}`, op)
  if ((flags & READ_FLAGS) !== 0) throw invalid(node, 'copy-on-read and prefetch apply to reads only', op)
  if ((flags & BDRV_REQ_NO_WAIT) !== 0 && (flags & BDRV_REQ_SERIALISING) === 0) {
    throw invalid(node, 'no-wait applies to serialising requests only', op)
  }
}

/**
 * Throws unless `edge` may write this range now: EPERM where the node is read-only or inactive, a bitmap forbids it, or
 * the edge lacks WRITE (or WRITE_UNCHANGED for a write that changes nothing visible), or RESIZE for growth.
 */
export function checkWritable(edge: BlockChild, offset: Offset, bytes: number, flags: RequestFlags, op: string): void {
  const { node } = edge
  checkOpen(node, op)
  checkNodeWritable(node, op)
  const unchanged = (flags & BDRV_REQ_WRITE_UNCHANGED) !== 0
  const wanted = unchanged ? BLK_PERM_WRITE | BLK_PERM_WRITE_UNCHANGED : BLK_PERM_WRITE
  if ((edge.perm & wanted) === 0) throw denied(edge, unchanged ? 'write unchanged' : 'write', op)
  if (offset + bytes > node.state.length && (edge.perm & BLK_PERM_RESIZE) === 0) {
    throw new BlockError(
      'EPERM',
      `${bytes} bytes at ${offset} end behind the ${node.state.length} bytes of the node, and ${edge.parent.describe()} has no resize permission`,
      { node: node.nodeName, op },
    )
  }
}

/** Throws EPERM unless `edge` has the resize permission and its node takes writes. */
export function checkResizable(edge: BlockChild, op: string): void {
  const { node } = edge
  checkOpen(node, op)
  if (node.readOnly) throw new BlockError('EACCES', 'the node is read-only', { node: node.nodeName, op })
  checkNodeWritable(node, op)
  if ((edge.perm & BLK_PERM_RESIZE) === 0) throw denied(edge, 'resize', op)
}

function checkNodeWritable(node: BlockDriverState, op: string): void {
  const details = { node: node.nodeName, op }
  if (node.readOnly) throw new BlockError('EPERM', 'the node is read-only', details)
  if (node.inactive) throw new BlockError('EPERM', 'the node is inactive: another process owns the image', details)
  if ((node.openFlags & BDRV_O_NO_IO) !== 0) throw new BlockError('EPERM', 'the node was opened without I/O', details)
  const blocking = forbiddingBitmap(node.state)
  if (blocking !== undefined) throw new BlockError('EPERM', `the bitmap '${blocking}' is read-only`, details)
}

function forbiddingBitmap(state: RequestState): string | undefined {
  for (const bitmap of state.bitmaps) if (bitmap.readonly) return bitmap.name ?? ''
  return undefined
}

function denied(edge: BlockChild, permission: string, op: string): BlockError {
  return new BlockError('EPERM', `${edge.parent.describe()} has no ${permission} permission on '${edge.name}'`, {
    node: edge.node.nodeName,
    op,
  })
}

function invalid(node: BlockDriverState, message: string, op: string): BlockError {
  return new BlockError('EINVAL', message, { node: node.nodeName, op })
}
