// VM state through a backend.

import type { Bytes } from '../../common/io-vector.js'
import type { Offset } from '../../common/units.js'
import { flushNode } from '../flush.js'
import { loadVmstate, saveVmstate } from '../vmstate.js'
import { performQuery, type RequestOptions } from './perform.js'
import type { BackendRoot } from './root.js'
import { mediumOf } from './submit.js'

/** Stores VM state; with the write cache off, durable when it completes. */
export function backendSaveVmstate(
  root: BackendRoot,
  offset: Offset,
  data: Bytes,
  options: RequestOptions = {},
): Promise<void> {
  return performQuery(root, {
    kind: 'vmstate',
    bytes: data.length,
    signal: options.signal,
    allow: () => mediumOf(root, root.accounting.other, 'vmstate'),
    issue: async (edge) => {
      await saveVmstate(edge.node, offset, data)
      if (!root.writeCache) await flushNode(edge.node)
    },
  })
}

/** Reads VM state back. */
export function backendLoadVmstate(
  root: BackendRoot,
  offset: Offset,
  into: Bytes,
  options: RequestOptions = {},
): Promise<void> {
  return performQuery(root, {
    kind: 'vmstate',
    bytes: into.length,
    signal: options.signal,
    allow: () => mediumOf(root, root.accounting.other, 'vmstate'),
    issue: (edge) => loadVmstate(edge.node, offset, into),
  })
}
