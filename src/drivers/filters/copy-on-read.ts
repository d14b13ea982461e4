// copy-on-read: every read through it makes the node below keep what it had to fetch from its backing chain. `bottom`
// limits that to data found above and in one node of the chain; what lies deeper is read without being kept.

import { BlockError } from '../../common/error.js'
import type { Bytes } from '../../common/io-vector.js'
import { sliceBytes } from '../../common/io-vector.js'
import { BLK_PERM_ALL, BLK_PERM_WRITE_UNCHANGED } from '../../common/permissions.js'
import { BDRV_REQ_COPY_ON_READ, BDRV_REQ_PREFETCH, type RequestFlags } from '../../common/request.js'
import type { Offset } from '../../common/units.js'
import { defineDriver, type OpenedNode } from '../../global-state/driver.js'
import { stringOption } from '../../global-state/options/option-schema.js'
import { type BlockChild, type BlockDriverState, backingChainNext, skipFilters } from '../../io/block-node.js'
import { isAllocated, isAllocatedAbove } from '../../io/block-status.js'
import { read } from '../../io/read.js'
import { childLength, forward, forwardedFlags, openFiltered } from './forward.js'

/** What an open copy-on-read node keeps. */
export interface CopyOnReadState {
  readonly file: BlockChild
  readonly bottom: BlockDriverState | undefined
  /** Cleared by a job that removes the filter: it then asks nothing of its child and lets others do anything. */
  active: boolean
}

/** Populates the node below with what is read through it. */
export const copyOnReadDriver = defineDriver({
  name: 'copy-on-read',
  kind: 'filter',
  options: { bottom: stringOption({ description: 'deepest node of the chain whose data is copied up' }) },
  childNames: ['file'],
  async open(context, options): Promise<OpenedNode<CopyOnReadState>> {
    const file = await openFiltered(context)
    const bottom = options.bottom === undefined ? undefined : findBottom(file.node, options.bottom, context.nodeName)
    const state: CopyOnReadState = { file, bottom, active: true }
    return {
      io: {
        relays: true,
        length: () => childLength(file),
        read: (offset, into, flags) =>
          bottom === undefined
            ? read(file, offset, into, flags | BDRV_REQ_COPY_ON_READ)
            : readAbove(file, bottom, offset, into, flags),
        ...forward(file, 'write', 'writeCompressed', 'writeZeroes', 'discard'),
      },
      state,
      readFlags: BDRV_REQ_PREFETCH,
      ...forwardedFlags(file),
    }
  },
  childPermissions(state, _child, asked, context) {
    // `state` is not there yet while the node opens.
    if (state !== undefined && !state.active) return { perm: 0, shared: BLK_PERM_ALL }
    const unchanged = context.inactive ? 0 : BLK_PERM_WRITE_UNCHANGED
    return { perm: asked.perm | unchanged, shared: asked.shared | BLK_PERM_WRITE_UNCHANGED }
  },
})

function findBottom(top: BlockDriverState, name: string, self: string): BlockDriverState {
  for (let node: BlockDriverState | undefined = skipFilters(top); node !== undefined; node = backingChainNext(node)) {
    if (node.nodeName === name) return node
  }
  throw new BlockError('EINVAL', `bottom node '${name}' is not in the backing chain below, or is a filter`, {
    node: self,
    op: 'open',
  })
}

/** Reads piece by piece, copying up what is allocated in the chain down to `bottom`. */
async function readAbove(
  file: BlockChild,
  bottom: BlockDriverState,
  offset: Offset,
  into: Bytes,
  flags: RequestFlags,
): Promise<void> {
  const bytes = into.length
  let done = 0
  while (done < bytes) {
    const here = await isAllocated(file.node, offset + done, bytes - done)
    const next = backingChainNext(file.node)
    let known = here.bytes
    let pieceFlags = flags
    if (!here.allocated && next !== undefined && file.node.nodeName !== bottom.nodeName) {
      const below = await isAllocatedAbove(next, bottom, true, offset + done, here.bytes)
      known = below.bytes
      if (below.depth > 0) pieceFlags |= BDRV_REQ_COPY_ON_READ
    }
    // Nothing known behind the end of the chain: the rest is zeroes, which a plain read gives.
    const part = known === 0 ? bytes - done : Math.min(known, bytes - done)
    if ((pieceFlags & (BDRV_REQ_PREFETCH | BDRV_REQ_COPY_ON_READ)) !== BDRV_REQ_PREFETCH) {
      await read(file, offset + done, sliceBytes(into, done, done + part), pieceFlags)
    }
    done += part
  }
}
