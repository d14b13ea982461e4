// raw: a format without metadata. Shows its file as it is, or a window of it (`offset`, `size`). A node whose format was
// guessed keeps its guest from writing another format's header into the first sector (CVE-2008-2004).

import { BDRV_BLOCK_OFFSET_VALID, BDRV_BLOCK_RAW } from '../common/block-status.js'
import { BDRV_CHILD_DATA, BDRV_CHILD_FILTERED, BDRV_CHILD_PRIMARY } from '../common/child-role.js'
import { BlockError } from '../common/error.js'
import { BDRV_SECTOR_SIZE, BLOCK_PROBE_BUF_SIZE } from '../common/limits.js'
import { BLK_PERM_RESIZE, BLK_PERM_WRITE } from '../common/permissions.js'
import { BDRV_REQ_WRITE_COMPRESSED, BDRV_REQ_ZERO_WRITE } from '../common/request.js'
import { alignUp, type Offset } from '../common/units.js'
import { defineDriver, type OpenedNode } from '../global-state/driver.js'
import { type OptionValues, sizeOption } from '../global-state/options/option-schema.js'
import { copyRangeFrom, copyRangeTo } from '../io/copy-range.js'
import { discard } from '../io/discard.js'
import { read } from '../io/read.js'
import { write } from '../io/write.js'
import { writeZeroes } from '../io/write-zeroes.js'
import { childLength, forwardedFlags } from './filters/forward.js'
import { formatGuesser, guardedWrite } from './raw/probe-guard.js'
import { checkWindow, type RawState, truncateWindow, windowLength } from './raw/window.js'

const RAW_OPTIONS = {
  offset: sizeOption({ default: 0, description: 'where the disk begins in the file' }),
  size: sizeOption({ description: 'length of the disk; the rest of the file by default' }),
}

/** All else is the protocol's: a raw image is its file. */
const CREATE_OPTIONS = {
  size: sizeOption({ required: true, description: 'Virtual disk size' }),
}

/** Shows the bytes of its file. */
export const rawDriver = defineDriver({
  name: 'raw',
  kind: 'format',
  options: RAW_OPTIONS,
  strongOptions: ['offset', 'size'],
  mutableOptions: ['offset', 'size'],
  childNames: ['file'],
  // The least of all scores: taken only where no other format claims the image.
  probe: () => 1,
  async open(context, options): Promise<OpenedNode<RawState>> {
    const whole = options.offset === 0 && options.size === undefined
    const role = whole ? BDRV_CHILD_FILTERED | BDRV_CHILD_PRIMARY : BDRV_CHILD_DATA | BDRV_CHILD_PRIMARY
    const file = await context.child('file', role)
    checkWindow(options, file, context.nodeName)
    const state: RawState = {
      file,
      offset: options.offset,
      size: options.size,
      guess: context.probed ? formatGuesser(context.drivers) : undefined,
    }
    return {
      io: rawIo(state),
      state,
      ...forwardedFlags(file),
      truncateFlags: BDRV_REQ_ZERO_WRITE & file.node.state.truncateFlags,
      // A write of part of the first sector must be judged by what the sector then holds.
      ...(state.guess === undefined ? {} : { limits: { requestAlignment: BLOCK_PROBE_BUF_SIZE } }),
    }
  },
  childPermissions(_state, child, asked, context) {
    // A raw image has no metadata to write or to grow: it needs of its file what is needed of itself, and no more.
    if ((child.role & BDRV_CHILD_FILTERED) !== 0) return { ...asked }
    const shared = context.inactive ? asked.shared | BLK_PERM_WRITE | BLK_PERM_RESIZE : asked.shared & ~BLK_PERM_RESIZE
    return { perm: asked.perm, shared }
  },
  reopen(state, context) {
    const { options } = context
    const wasWhole = state.offset === 0 && state.size === undefined
    if (wasWhole !== (options.offset === 0 && options.size === undefined)) {
      const message = 'a node that shows its whole file cannot become a window of it, nor the reverse'
      throw new BlockError('EINVAL', message, { node: context.nodeName, op: 'reopen' })
    }
    checkWindow(options, state.file, context.nodeName)
    return {
      commit() {
        state.offset = options.offset
        state.size = options.size
      },
      abort() {},
    }
  },
  createOptions: CREATE_OPTIONS,
  measure(_context, options) {
    const size = alignUp((options as OptionValues<typeof CREATE_OPTIONS>).size, BDRV_SECTOR_SIZE)
    return { required: size, fullyAllocated: size }
  },
  async create(context, options) {
    const { size } = options as OptionValues<typeof CREATE_OPTIONS>
    await context.createFile({ size: alignUp(size, BDRV_SECTOR_SIZE) })
  },
})

function rawIo(state: RawState): OpenedNode<RawState>['io'] {
  const { file, guess } = state
  const guard = (offset: Offset) => guess !== undefined && offset < BLOCK_PROBE_BUF_SIZE
  return {
    relays: true,
    length() {
      const length = childLength(file)
      return typeof length === 'number' ? windowLength(state, length) : length.then((now) => windowLength(state, now))
    },
    read: (offset, into, flags) => read(file, offset + state.offset, into, flags),
    write: (offset, data, flags) =>
      guess !== undefined && offset < BLOCK_PROBE_BUF_SIZE && data.length > 0
        ? guardedWrite(state, guess, offset, data, flags)
        : write(file, offset + state.offset, data, flags),
    writeCompressed: (offset, data) => {
      if (guard(offset)) throw new BlockError('ENOTSUP', 'compressed write to a guarded sector', { op: 'write' })
      return write(file, offset + state.offset, data, BDRV_REQ_WRITE_COMPRESSED)
    },
    writeZeroes: (offset, bytes, flags) => writeZeroes(file, offset + state.offset, bytes, flags),
    discard: (offset, bytes) => discard(file, offset + state.offset, bytes),
    blockStatus: (offset, bytes) => ({
      bits: BDRV_BLOCK_RAW | BDRV_BLOCK_OFFSET_VALID,
      bytes,
      map: offset + state.offset,
      file: file.node,
    }),
    truncate: (length, options) => truncateWindow(state, length, options),
    copyRangeFrom: (offset, target, targetOffset, bytes, flags) =>
      copyRangeFrom(file, offset + state.offset, target, targetOffset, bytes, flags),
    copyRangeTo(source, sourceOffset, offset, bytes, flags) {
      // What would be copied into a guarded sector is not known before it is there.
      if (guard(offset)) throw new BlockError('ENOTSUP', 'copy into a guarded sector', { op: 'copy-range' })
      return copyRangeTo(file, source, sourceOffset, offset + state.offset, bytes, flags)
    },
  }
}
