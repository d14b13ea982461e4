// The I/O half of an open file: its methods by capability, each one line into the file named after the act.

import type { BlockDriverInfo } from '../../common/block-info.js'
import type { BlockDriverState } from '../../io/block-node.js'
import type { NodeIo } from '../../io/node-io.js'
import { readFile, writeFile } from './data.js'
import { flushFile } from './flush.js'
import { fileAllocatedSize, fileLength, truncateFile } from './length.js'
import type { OpenFile } from './open-file.js'
import { copyIntoFile, discardFromFile, fileStatus, writeZeroesToFile } from './space.js'

/** The methods dispatch calls. `node` is the node the file is opened for; it is only named, never used. */
export function createFileIo(file: OpenFile, node: BlockDriverState): NodeIo {
  const io: NodeIo = {
    length: () => fileLength(file),
    read: (offset, into) => readFile(file, offset, into),
    write: (offset, data) => writeFile(file, offset, data),
    flush: () => flushFile(file),
    blockStatus: (offset, bytes, mode) => fileStatus(file, offset, bytes, mode),
    truncate: (length, options) => truncateFile(file, length, options),
    info: () => FILE_INFO,
    allocatedSize: () => fileAllocatedSize(file),
  }
  if (file.native === undefined) return io
  const { space } = file.native
  io.writeZeroes = (offset, bytes, flags) => writeZeroesToFile(file, space, offset, bytes, flags)
  io.discard = (offset, bytes) => discardFromFile(file, space, offset, bytes)
  io.copyRangeFrom = (offset, target, targetOffset, bytes, flags) =>
    target.copyFrom({ node }, offset, targetOffset, bytes, flags)
  io.copyRangeTo = (source, sourceOffset, offset, bytes) =>
    copyIntoFile(file, space, source, sourceOffset, offset, bytes)
  return io
}

const FILE_INFO: BlockDriverInfo = { clusterSize: 0, vmStateOffset: 0, isDirty: false, needsCompressedWrites: false }
