// Files that come with an image because images name them: none of them stands above itself, and there are only so many (threats.md,
// section 2 and N06). What a caller builds by options has no such limits.

import { BlockError } from '../../common/error.js'
import { primaryEdge } from '../node-filename.js'
import type { NodeState } from '../node-state.js'

/** Images that are named inside images, one below the other. Longer chains are meant to hurt; options may go deeper. */
const MOST_DEEP = 200
/** Files of one image, its own among them. */
const MOST_FILES = 256

/** The files of the images above one that is being opened, the nearest first. */
export interface FilesAbove {
  readonly identity: string
  readonly above: FilesAbove | undefined
}

/** What an open has found so far, counted for all of it. */
export interface FoundFiles {
  count: number
}

/** Counts a name that was found in an image `depth` levels below the top. ELOOP, EMFILE for one too many. */
export function countFound(found: FoundFiles, depth: number, nodeName: string): void {
  const details = { node: nodeName, op: 'open' }
  if (depth >= MOST_DEEP) throw new BlockError('ELOOP', `images name each other more than ${MOST_DEEP} deep`, details)
  found.count++
  if (found.count >= MOST_FILES) throw new BlockError('EMFILE', `images name more than ${MOST_FILES} files`, details)
}

/** The list with the file of `node`, as far as it has one. */
export function withFileOf(node: NodeState, above: FilesAbove | undefined): FilesAbove | undefined {
  const identity = fileIdentity(node)
  return identity === undefined ? above : { identity, above }
}

/** Refuses a node whose file is that of an image above it: ELOOP. */
export function refuseRing(node: NodeState, above: FilesAbove | undefined, nodeName: string): void {
  if (above === undefined) return
  const identity = fileIdentity(node)
  for (let at: FilesAbove | undefined = above; at !== undefined && identity !== undefined; at = at.above) {
    if (at.identity !== identity) continue
    throw new BlockError('ELOOP', 'images name each other in a ring', { node: nodeName, op: 'open' })
  }
}

/** What tells the file below a node from others; undefined where that is not known. */
function fileIdentity(node: NodeState): string | undefined {
  for (let at: NodeState | undefined = node; at !== undefined; at = primaryEdge(at)?.node) {
    const identity = at.opened ? at.definition.identity?.(at.driverState) : undefined
    if (identity !== undefined) return `${at.driver.name}:${identity}`
  }
  return undefined
}
