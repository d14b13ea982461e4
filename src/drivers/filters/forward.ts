// What filters share: opening the filtered child, and passing on what a filter says it passes on. A filter forwards
// nothing that changes data unless it names it here or implements it.

import { BDRV_CHILD_FILTERED, BDRV_CHILD_PRIMARY } from '../../common/child-role.js'
import {
  BDRV_REQ_FUA,
  BDRV_REQ_MAY_UNMAP,
  BDRV_REQ_NO_FALLBACK,
  BDRV_REQ_WRITE_COMPRESSED,
  BDRV_REQ_WRITE_UNCHANGED,
  type RequestFlags,
} from '../../common/request.js'
import type { Offset } from '../../common/units.js'
import type { OpenContext } from '../../global-state/driver.js'
import type { BlockChild } from '../../io/block-node.js'
import { discard } from '../../io/discard.js'
import { MAX_NESTING, nesting } from '../../io/nesting.js'
import type { MaybePromise, NodeIo } from '../../io/node-io.js'
import { refreshLength } from '../../io/truncate.js'
import { write } from '../../io/write.js'
import { writeZeroes } from '../../io/write-zeroes.js'

/** The methods a filter can pass on as they are. */
export type Forwarded = 'write' | 'writeCompressed' | 'writeZeroes' | 'discard'

/** Opens the child a filter filters. */
export function openFiltered(context: OpenContext, name = 'file'): Promise<BlockChild> {
  return context.child(name, BDRV_CHILD_FILTERED | BDRV_CHILD_PRIMARY)
}

/** The child's length, asked anew. */
export function childLength(edge: BlockChild): MaybePromise<Offset> {
  // In a chain of filters each asks the next: the deepest of a very long one answer from what they know.
  if (nesting.depth >= MAX_NESTING) return edge.node.state.length
  const pending = refreshLength(edge.node)
  return pending === undefined ? edge.node.state.length : pending.then(() => edge.node.state.length)
}

/** The write and zero flags of a node that hands requests to `edge` unchanged. */
export function forwardedFlags(edge: BlockChild): { writeFlags: RequestFlags; zeroFlags: RequestFlags } {
  const { state } = edge.node
  const passed = BDRV_REQ_FUA | BDRV_REQ_MAY_UNMAP | BDRV_REQ_NO_FALLBACK
  return {
    writeFlags: BDRV_REQ_WRITE_UNCHANGED | (BDRV_REQ_FUA & state.writeFlags),
    zeroFlags: BDRV_REQ_WRITE_UNCHANGED | (passed & state.zeroFlags),
  }
}

/** The named methods, each handing its request to `edge` as it came. */
export function forward(edge: BlockChild, ...methods: Forwarded[]): Pick<NodeIo, Forwarded> {
  const all: Required<Pick<NodeIo, Forwarded>> = {
    write: (offset, data, flags) => write(edge, offset, data, flags),
    writeCompressed: (offset, data) => write(edge, offset, data, BDRV_REQ_WRITE_COMPRESSED),
    writeZeroes: (offset, bytes, flags) => writeZeroes(edge, offset, bytes, flags),
    discard: (offset, bytes) => discard(edge, offset, bytes),
  }
  const chosen: Pick<NodeIo, Forwarded> = {}
  for (const method of methods) Object.assign(chosen, { [method]: all[method] })
  return chosen
}
