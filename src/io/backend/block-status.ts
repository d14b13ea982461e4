// Block status as a backend's user sees it.

import type { Offset } from '../../common/units.js'
import type { BlockDriverState } from '../block-node.js'
import { type BlockStatus, blockStatusAbove } from '../block-status.js'
import type { StatusMode } from '../node-io.js'
import { performQuery, type RequestOptions } from './perform.js'
import type { BackendRoot } from './root.js'
import { mediumOf } from './submit.js'

/** Which layers to look at, and how closely. */
export interface BlockStatusOptions extends RequestOptions {
  /** Precise by default. */
  mode?: StatusMode
  /** Look no deeper than this node; without it, through all layers. */
  base?: BlockDriverState
  includeBase?: boolean
}

/** The status of a range, through all layers down to `base`. 0 bytes at or behind the end. */
export function backendBlockStatus(
  root: BackendRoot,
  offset: Offset,
  bytes: number,
  options: BlockStatusOptions = {},
): Promise<BlockStatus> {
  const { mode, base, includeBase } = options
  return performQuery(root, {
    kind: 'block-status',
    bytes: 0,
    signal: options.signal,
    allow: () => mediumOf(root, root.accounting.other, 'block-status'),
    issue: (edge) => blockStatusAbove(edge.node, base, offset, bytes, mode, includeBase),
  })
}
