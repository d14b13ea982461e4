// A filter never passes a data-changing request on that it has not seen. One that wishes to says so with these methods.

import { BlockError } from '../common/error.js'
import { BDRV_REQ_WRITE_COMPRESSED } from '../common/request.js'
import type { BlockChild } from './block-node.js'
import { copyRangeFrom, copyRangeTo } from './copy-range.js'
import { discard } from './discard.js'
import type { NodeIo } from './node-io.js'
import { write } from './write.js'
import { writeZeroes } from './write-zeroes.js'

/** Methods that a filter may forward to its child. */
export type Forwardable = 'discard' | 'writeZeroes' | 'writeCompressed' | 'copyRangeFrom' | 'copyRangeTo'

/** NodeIo methods that pass on what they get, unchanged, to the edge that `child` returns. To be spread into a driver's own. */
export function forward(child: () => BlockChild | undefined, ...methods: Forwardable[]): Partial<NodeIo> {
  const edge = (): BlockChild => {
    const found = child()
    if (found === undefined) throw new BlockError('ENOMEDIUM', 'the filter has no child')
    return found
  }
  const all: Pick<NodeIo, Forwardable> = {
    discard: (offset, bytes) => discard(edge(), offset, bytes),
    writeZeroes: (offset, bytes, flags) => writeZeroes(edge(), offset, bytes, flags),
    writeCompressed: (offset, data) => write(edge(), offset, data, BDRV_REQ_WRITE_COMPRESSED),
    copyRangeFrom: (offset, target, to, bytes, flags) => copyRangeFrom(edge(), offset, target, to, bytes, flags),
    copyRangeTo: (source, from, offset, bytes, flags) => copyRangeTo(edge(), source, from, offset, bytes, flags),
  }
  return Object.fromEntries(methods.map((method) => [method, all[method]]))
}
