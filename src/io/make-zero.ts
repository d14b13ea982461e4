// Making a whole node read as zeroes, touching only what does not yet.

import { BDRV_BLOCK_ZERO } from '../common/block-status.js'
import { BDRV_REQUEST_MAX_BYTES } from '../common/limits.js'
import type { RequestFlags } from '../common/request.js'
import type { BlockChild } from './block-node.js'
import { blockStatusAbove } from './block-status.js'
import { writeZeroes } from './write-zeroes.js'

/** Zeroes all of the node below `edge`, in requests of at most BDRV_REQUEST_MAX_BYTES. Fails as status or a write does. */
export async function makeZero(edge: BlockChild, flags: RequestFlags = 0): Promise<void> {
  const { node } = edge
  for (let at = 0; at < node.state.length; ) {
    const bytes = Math.min(node.state.length - at, BDRV_REQUEST_MAX_BYTES)
    const status = await blockStatusAbove(node, undefined, at, bytes)
    if (status.bytes === 0) return
    if ((status.bits & BDRV_BLOCK_ZERO) === 0) await writeZeroes(edge, at, status.bytes, flags)
    at += status.bytes
  }
}
