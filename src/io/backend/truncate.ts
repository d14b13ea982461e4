// Length of a backend's node.

import { BlockError } from '../../common/error.js'
import type { Offset } from '../../common/units.js'
import type { TruncateOptions } from '../node-io.js'
import { refreshLength, truncate } from '../truncate.js'
import { performQuery, type RequestOptions } from './perform.js'
import type { BackendRoot } from './root.js'
import { mediumOf } from './submit.js'

/** Changes the length of the node. Rejects as `truncate` on an edge, and with ENOMEDIUM and ECANCELED. */
export function backendTruncate(
  root: BackendRoot,
  length: Offset,
  options: RequestOptions & { truncate?: Partial<TruncateOptions> } = {},
): Promise<void> {
  return performQuery(root, {
    kind: 'truncate',
    bytes: 0,
    signal: options.signal,
    allow: () => mediumOf(root, root.accounting.other, 'truncate'),
    issue: (edge) => truncate(edge, length, options.truncate),
  })
}

/** Length in bytes. ENOMEDIUM without a node. */
export function backendLength(root: BackendRoot): Offset {
  const { edge } = root
  if (edge === undefined || edge.node.closed)
    throw new BlockError('ENOMEDIUM', 'no medium', { node: root.name, op: 'length' })
  return edge.node.state.length
}

/** Asks the driver for the length again, as after the host changed it. */
export function backendRefreshLength(root: BackendRoot, options: RequestOptions = {}): Promise<void> {
  return performQuery(root, {
    kind: 'truncate',
    bytes: 0,
    signal: options.signal,
    allow: () => mediumOf(root, root.accounting.other, 'truncate'),
    issue: (edge) => refreshLength(edge.node),
  })
}
