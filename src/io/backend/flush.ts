// Flushes of a backend.

import { flush } from '../flush.js'
import { perform, type RequestOptions } from './perform.js'
import type { BackendRoot } from './root.js'
import { mediumOf } from './submit.js'

/** Makes all writes that have settled durable. Rejects with ENOMEDIUM, ECANCELED, or what the graph says. */
export function backendFlush(root: BackendRoot, options: RequestOptions = {}): Promise<void> {
  return perform(root, {
    kind: 'flush',
    bytes: 0,
    signal: options.signal,
    allow: () => mediumOf(root, root.accounting.flush, 'flush'),
    issue: (edge) => flush(edge),
  })
}
