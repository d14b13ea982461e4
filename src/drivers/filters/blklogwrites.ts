// blklogwrites: a filter that writes down every change of its `file` in a `log`, in the format of Linux's dm-log-writes, so that
// tools can replay the disk to any moment, as it may have been found after a crash. Options are QEMU's.

import { BDRV_CHILD_METADATA } from '../../common/child-role.js'
import { BlockError } from '../../common/error.js'
import { BDRV_REQ_FUA, BDRV_REQ_WRITE_UNCHANGED } from '../../common/request.js'
import { isAligned, type Offset } from '../../common/units.js'
import { defineDriver, type OpenContext, type OpenedNode } from '../../global-state/driver.js'
import { flagOption, integerOption, type OptionValues, sizeOption } from '../../global-state/options/option-schema.js'
import type { BlockChild } from '../../io/block-node.js'
import { discard } from '../../io/discard.js'
import { flush } from '../../io/flush.js'
import type { NodeIo } from '../../io/node-io.js'
import { read } from '../../io/read.js'
import { write } from '../../io/write.js'
import { writeZeroes } from '../../io/write-zeroes.js'
import { isLogSectorSize, LOG_DISCARD_FLAG } from './blklogwrites/log-format.js'
import { endOfLog, newLog } from './blklogwrites/open-log.js'
import { type LogPosition, WriteLog } from './blklogwrites/write-log.js'
import { childLength, forwardedFlags, openFiltered } from './forward.js'

export {
  decodeEntry,
  decodeSuper,
  LOG_DISCARD_FLAG,
  LOG_FLUSH_FLAG,
  LOG_FUA_FLAG,
  LOG_MARK_FLAG,
  LOG_METADATA_FLAG,
  type LogEntry,
  type LogSuper,
} from './blklogwrites/log-format.js'

const DEFAULT_SECTOR_SIZE = 512
const DEFAULT_SUPER_INTERVAL = 4096
/** With its entry, a write has to fit into one request to the log. */
const MAX_TRANSFER = 2 ** 30

const OPTIONS = {
  'log-sector-size': sizeOption({ description: 'sector size of the log and alignment of requests; 512 by default' }),
  'log-append': flagOption({ default: false, description: 'go on behind the entries of the log' }),
  'log-super-update-interval': integerOption({
    default: DEFAULT_SUPER_INTERVAL,
    min: 1,
    max: 0xffff_ffff,
    description: 'entries after which the super block is written anew',
  }),
} as const

/** Logs writes, zero writes, discards and flushes. */
export const blklogwritesDriver = defineDriver({
  name: 'blklogwrites',
  kind: 'filter',
  options: OPTIONS,
  childNames: ['file', 'log'],
  async open(context, options): Promise<OpenedNode<WriteLog>> {
    const sectorSize = options['log-sector-size']
    if (options['log-append'] && sectorSize !== undefined) {
      throw invalid(context, 'log-append and log-sector-size are mutually exclusive')
    }
    if (sectorSize !== undefined && !isLogSectorSize(sectorSize)) {
      throw invalid(context, `invalid log sector size ${sectorSize}`)
    }
    const file = await openFiltered(context)
    const edge = await context.child('log', BDRV_CHILD_METADATA)
    const log = new WriteLog(edge, await positionOf(edge, options), options['log-super-update-interval'])
    const { zeroFlags } = forwardedFlags(file)
    return {
      io: loggingIo(file, log),
      state: log,
      limits: { requestAlignment: log.sectorSize, maxTransfer: MAX_TRANSFER },
      // FUA is left to a flush, which the log records.
      writeFlags: BDRV_REQ_WRITE_UNCHANGED,
      zeroFlags: zeroFlags & ~BDRV_REQ_FUA,
      truncateFlags: file.node.state.truncateFlags,
    }
  },
})

function positionOf(edge: BlockChild, options: OptionValues<typeof OPTIONS>): LogPosition | Promise<LogPosition> {
  const sectorSize = options['log-sector-size'] ?? DEFAULT_SECTOR_SIZE
  return options['log-append'] ? endOfLog(edge, sectorSize) : newLog(sectorSize)
}

function loggingIo(file: BlockChild, log: WriteLog): NodeIo {
  return {
    length: () => childLength(file),
    read: (offset, into, flags) => read(file, offset, into, flags),
    write: (offset, data, flags) =>
      log.change(() => write(file, offset, data, flags), { offset, bytes: data.byteLength, flags: 0 }, data),
    writeZeroes: (offset, bytes, flags) =>
      log.change(() => writeZeroes(file, offset, bytes, flags), { offset, bytes, flags: 0 }),
    discard(offset, bytes) {
      refusePiece(offset, bytes, log.sectorSize)
      return log.change(() => discard(file, offset, bytes), { offset, bytes, flags: LOG_DISCARD_FLAG })
    },
    flush: () => log.flush(() => flush(file)),
  }
}

/** The log counts sectors: what is no whole sector it cannot hold, and is not done either. */
function refusePiece(offset: Offset, bytes: number, sectorSize: number): void {
  if (isAligned(offset, sectorSize) && isAligned(bytes, sectorSize)) return
  throw new BlockError('ENOTSUP', `not a multiple of ${sectorSize} bytes`, { op: 'discard' })
}

function invalid(context: OpenContext, message: string): BlockError {
  return new BlockError('EINVAL', message, { node: context.nodeName, op: 'open' })
}
