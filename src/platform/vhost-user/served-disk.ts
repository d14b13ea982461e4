// A disk as it is handed to a server: a backend, or what has one.

import { BlockError } from '../../common/error.js'
import type { BlockBackend } from '../../global-state/backend.js'
import type { BackendRoot } from '../../io/backend/root.js'

/** A backend, or a disk. It stays open until its owner closes it, after the server. */
export type ServedDisk = BlockBackend | { readonly backend: BlockBackend }

/** The root of a disk. Throws ENOMEDIUM where there is nothing in it. */
export function rootOfDisk(disk: ServedDisk): BackendRoot {
  const backend = 'backend' in disk ? disk.backend : disk
  if (backend.node === undefined) throw new BlockError('ENOMEDIUM', 'there is no disk to serve', { op: 'vhost-user' })
  return backend.root
}
