// The request path of blkdebug: announce the generic event of the request, ask the rules, pass on.

import { BDRV_BLOCK_OFFSET_VALID, BDRV_BLOCK_RAW } from '../../../common/block-status.js'
import { BlockError } from '../../../common/error.js'
import type { BlockLimits } from '../../../common/limits.js'
import { BDRV_REQ_WRITE_COMPRESSED } from '../../../common/request.js'
import type { Offset } from '../../../common/units.js'
import type { BlockChild } from '../../../io/block-node.js'
import { discard } from '../../../io/discard.js'
import type { Completion, NodeIo, StatusExtent } from '../../../io/node-io.js'
import { read } from '../../../io/read.js'
import { write } from '../../../io/write.js'
import { writeZeroes } from '../../../io/write-zeroes.js'
import { childLength } from '../forward.js'
import type { BlkdebugState } from './debug-state.js'
import { type BlkdebugEvent, type BlkdebugIoType, isBlkdebugEvent } from './events.js'

/** The I/O half of a blkdebug node over `file`. */
export function blkdebugIo(file: BlockChild, debug: BlkdebugState, limits: Partial<BlockLimits>): NodeIo {
  const announced = new Announcer(debug)
  const checked = (iotype: BlkdebugIoType, offset: Offset, bytes: number, go: () => Completion): Completion => {
    const failed = debug.check(iotype, offset, bytes)
    return failed === undefined ? go() : failed
  }
  const zeroUnit = limits.writeZeroesAlignment ?? limits.requestAlignment ?? 1
  const discardUnit = limits.discardAlignment ?? limits.requestAlignment ?? 1
  return {
    length: () => childLength(file),
    read: (offset, into, flags) =>
      after(announced.generic('read_aio'), () =>
        checked('read', offset, into.length, () => read(file, offset, into, flags)),
      ),
    write: (offset, data, flags) =>
      announced.written(['pwritev', 'write_aio'], () =>
        checked('write', offset, data.length, () => write(file, offset, data, flags)),
      ),
    writeCompressed: (offset, data) =>
      announced.written(['write_compressed'], () =>
        checked('write', offset, data.length, () => write(file, offset, data, BDRV_REQ_WRITE_COMPRESSED)),
      ),
    writeZeroes(offset, bytes, flags) {
      refusePiece('write-zeroes', offset, bytes, zeroUnit)
      return announced.written(['pwritev_zero'], () =>
        checked('write-zeroes', offset, bytes, () => writeZeroes(file, offset, bytes, flags)),
      )
    },
    discard(offset, bytes) {
      refusePiece('discard', offset, bytes, discardUnit)
      return checked('discard', offset, bytes, () => discard(file, offset, bytes))
    },
    flushToOs: () => announced.generic('flush_to_os'),
    flush: () => after(announced.generic('flush_to_disk'), () => checked('flush', 0, 0, () => undefined)),
    blockStatus(offset, bytes) {
      const bits = BDRV_BLOCK_RAW | BDRV_BLOCK_OFFSET_VALID
      const extent: StatusExtent = { bits, bytes, map: offset, file: file.node }
      return debug.check('block-status', offset, bytes) ?? extent
    },
    debugEvent: (event) => (isBlkdebugEvent(event) ? announced.fromAbove(event) : undefined),
  }
}

/**
 * Announces the events that come with the requests themselves. Where a driver above announces an event of that name it
 * knows better which of its requests are meant, and the request alone no longer counts.
 */
class Announcer {
  readonly #debug: BlkdebugState
  readonly #fromAbove = new Set<BlkdebugEvent>()

  constructor(debug: BlkdebugState) {
    this.#debug = debug
  }

  fromAbove(event: BlkdebugEvent): Completion {
    this.#fromAbove.add(event)
    return this.#debug.event(event)
  }

  generic(event: BlkdebugEvent): Completion {
    return this.#fromAbove.has(event) ? undefined : this.#debug.event(event)
  }

  /** The events before a write, the write, and `pwritev_done`. */
  written(before: readonly BlkdebugEvent[], go: () => Completion): Completion {
    const announce = (index: number): Completion => {
      const event = before[index]
      return event === undefined ? go() : after(this.generic(event), () => announce(index + 1))
    }
    return after(announce(0), () => this.generic('pwritev_done'))
  }
}

/** `go` once `pending` is done. */
function after(pending: Completion, go: () => Completion): Completion {
  return pending === undefined ? go() : pending.then(go)
}

/** A piece smaller than the alignment it was told gets no help from below, as from a host that has that alignment. */
function refusePiece(op: 'write-zeroes' | 'discard', offset: Offset, bytes: number, alignment: number): void {
  if (offset % alignment === 0 && bytes % alignment === 0) return
  throw new BlockError('ENOTSUP', `not a multiple of ${alignment} bytes`, { op })
}
