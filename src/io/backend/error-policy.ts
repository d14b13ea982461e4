// What a backend does when the graph fails a request: report it, ignore it, or stop, which parks the request until
// somebody resumes. The first error that stops it stays as its status until reset.

import type { BlockError } from '../../common/error.js'
import type { RequestKind } from '../../common/request.js'
import type { BackendRoot } from './root.js'

/** `enospc` stops when space ran out and reports else; `auto` is `report` for reads, `enospc` for all others. */
export type ErrorPolicy = 'report' | 'ignore' | 'enospc' | 'stop' | 'auto'
export type ErrorAction = 'report' | 'ignore' | 'stop'
export type BackendStatus = 'ok' | 'failed' | 'nospace'

/** What the policies of `root` say to an error of a request of `kind`. */
export function errorAction(root: BackendRoot, kind: RequestKind, error: BlockError): ErrorAction {
  const isRead = kind === 'read'
  let policy = isRead ? root.onReadError : root.onWriteError
  if (policy === 'auto') policy = isRead ? 'report' : 'enospc'
  if (policy === 'enospc') return error.code === 'ENOSPC' ? 'stop' : 'report'
  return policy
}

/** Carries an action out as far as the backend goes: status first, then the event. Parking is up to the caller. */
export function applyErrorAction(root: BackendRoot, kind: RequestKind, error: BlockError, action: ErrorAction): void {
  if (action === 'stop' && root.status === 'ok') root.status = error.code === 'ENOSPC' ? 'nospace' : 'failed'
  root.environment.trace.emit('io-error', {
    backend: root.name,
    node: error.node ?? root.edge?.node.nodeName ?? '',
    kind,
    action,
    code: error.code,
    message: error.message,
  })
}

/** Forgets the error that stopped the backend. */
export function resetStatus(root: BackendRoot): void {
  root.status = 'ok'
}
