// What convert wants of its target beyond plain writes: compression, and a backing file that holds a part of the data.

import {
  BLOCK_OPT_BACKING_FILE,
  BLOCK_OPT_BACKING_FMT,
  BLOCK_OPT_ENCRYPT_FORMAT,
  BLOCK_OPT_PREALLOC,
} from '../../common/option-names.js'
import type { Offset } from '../../common/units.js'
import type { BlockDriver } from '../../global-state/driver.js'
import type { NodeState } from '../../global-state/node-state.js'
import type { FlatOptions } from '../../global-state/options/options.js'
import { cowChild, skipFilters } from '../../io/block-node.js'
import { formatFacts } from '../image-data.js'
import type { OpenImage } from '../session.js'
import { ToolError } from '../tool.js'

/** Refuses to compress into a new image that cannot have that. */
export function refuseCompression(driver: BlockDriver | undefined, options: FlatOptions): void {
  // An unknown format is refused when the image is made.
  if (driver !== undefined && driver.compresses !== true) throw noCompression()
  if (options[BLOCK_OPT_ENCRYPT_FORMAT] !== undefined || options.encryption === 'on') {
    throw new ToolError('Compression and encryption not supported at the same time')
  }
  const preallocation = options[BLOCK_OPT_PREALLOC]
  if (preallocation !== undefined && preallocation !== 'off') {
    throw new ToolError('Compression and preallocation not supported at the same time')
  }
}

/** Bytes of the clusters in which the open target takes compressed data. */
export async function compressedCluster(target: OpenImage): Promise<number> {
  const node = skipFilters(target.node) as NodeState
  if (node.definition.compresses !== true) throw noCompression()
  try {
    const { clusterSize } = await formatFacts(target.node)
    if (clusterSize > 0) return clusterSize
  } catch {
    // Said below.
  }
  throw new ToolError('could not get block driver info')
}

function noCompression(): ToolError {
  return new ToolError('Compression not supported for this file format')
}

/** The backing file that the target is said to have: by an option of its own, or among those of the new image. */
export function statedBacking(backing: string | undefined, options: FlatOptions): string | undefined {
  if (backing !== undefined) return backing
  const given = options[BLOCK_OPT_BACKING_FILE]
  return given === undefined ? undefined : String(given)
}

/** Refuses a new image with a backing file whose format is not said. */
export function refuseUnknownBacking(
  driver: BlockDriver | undefined,
  format: string | undefined,
  options: FlatOptions,
): void {
  if (driver === undefined || !Object.hasOwn(driver.createOptions ?? {}, BLOCK_OPT_BACKING_FILE)) return
  if (format !== undefined || options[BLOCK_OPT_BACKING_FMT] !== undefined) return
  throw new ToolError('Use of backing file requires explicit backing format')
}

/** Length of the target's backing file; beyond all where there is none to be found. */
export function backingLength(target: OpenImage): Offset {
  return cowChild(skipFilters(target.node))?.node.state.length ?? Number.MAX_SAFE_INTEGER
}
