// Names of nodes and backends.

import { MAX_NODE_NAME } from '../common/limits.js'

/** Whether a user may give this name: a letter, then letters, digits, `-`, `.`, `_`; 31 characters at most. */
export function isWellFormedNodeName(name: string): boolean {
  return name.length <= MAX_NODE_NAME && /^[A-Za-z][A-Za-z0-9._-]*$/.test(name)
}
