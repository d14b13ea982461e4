// Requests as users of the tool see them: inside the disk, which has whole sectors. Its last sector may lie partly behind
// the end of the node: it reads as zeroes there, and grows when it is written.

import { errnoMessage } from '../../common/errno.js'
import { BlockError } from '../../common/error.js'
import type { Bytes } from '../../common/io-vector.js'
import { BLK_PERM_RESIZE } from '../../common/permissions.js'
import type { RequestFlags } from '../../common/request.js'
import { readDisk, virtualSize } from '../image-data.js'
import type { OpenImage } from '../session.js'
import { CommandFailure } from './command.js'
import type { Shell } from './shell.js'

/** Refuses a range that ends behind the disk before there is a buffer for it; `what` is what failed. */
export function refuseOutside(shell: Shell, what: string, offset: number, bytes: number): void {
  if (offset + bytes <= virtualSize(shell.opened)) return
  shell.aio.deliver()
  throw new CommandFailure(`${what} failed: ${errnoMessage('EIO')}`)
}

/** Fills `into`. EIO behind the end of the disk. */
export async function readRange(image: OpenImage, offset: number, into: Bytes): Promise<void> {
  checkInside(image, offset, into.byteLength, 'read')
  await readDisk(image, offset, into)
}

/** Writes `data`. EIO behind the end of the disk. */
export async function writeRange(shell: Shell, offset: number, data: Bytes, flags: RequestFlags): Promise<void> {
  const { opened } = shell
  checkInside(opened, offset, data.byteLength, 'write')
  await allowTail(shell, offset + data.byteLength)
  await opened.backend.write(offset, data, { flags })
}

/** Makes a range read as zeroes. EIO behind the end of the disk. */
export async function zeroRange(shell: Shell, offset: number, bytes: number, flags: RequestFlags): Promise<void> {
  const { opened } = shell
  checkInside(opened, offset, bytes, 'write-zeroes')
  await allowTail(shell, offset + bytes)
  await opened.backend.writeZeroes(offset, bytes, { flags })
}

/** Discards a range. EIO behind the end of the disk. */
export async function discardRange(image: OpenImage, offset: number, bytes: number): Promise<void> {
  checkInside(image, offset, bytes, 'discard')
  const { length } = image.node.state
  await image.backend.discard(Math.min(offset, length), Math.min(bytes, Math.max(length - offset, 0)))
}

function checkInside(image: OpenImage, offset: number, bytes: number, op: string): void {
  if (offset + bytes <= virtualSize(image)) return
  throw new BlockError('EIO', `${bytes} bytes at ${offset} end behind the disk`, { op })
}

/** A write that ends in the part of the last sector that the node does not have makes it longer. */
async function allowTail(shell: Shell, end: number): Promise<void> {
  const { node, backend } = shell.opened
  if (end <= node.state.length) return
  await shell.gain(BLK_PERM_RESIZE)
  backend.root.allowWriteBeyondEof = true
}
