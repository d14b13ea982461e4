// Guessing the format of an image from its first bytes. Only on request, since a guest that may write a raw disk can write
// any header into it.

import { BDRV_CHILD_DATA } from '../../common/child-role.js'
import { BlockError } from '../../common/error.js'
import { BLOCK_PROBE_BUF_SIZE } from '../../common/limits.js'
import { BLK_PERM_CONSISTENT_READ } from '../../common/permissions.js'
import { read } from '../../io/read.js'
import type { BlockDriver } from '../driver.js'
import { EdgeState, type NodeState } from '../node-state.js'
import { type FlatOptions, splitChild } from '../options/options.js'
import { releaseNode } from './close.js'
import type { OpenRequest } from './open-request.js'

/** A guess: the driver, its options, and the file node that was opened to look (without a hold, unless it is named). */
export interface ProbeResult {
  driver: BlockDriver
  options: FlatOptions
  file: NodeState | undefined
}

/** The format driver with the highest score for `header`; `raw` where nobody claims it. */
export function guessFormat(
  drivers: readonly BlockDriver[],
  header: Uint8Array,
  filename: string,
): BlockDriver | undefined {
  let best: BlockDriver | undefined
  let bestScore = 0
  for (const driver of drivers) {
    const score = driver.kind === 'format' && driver.probe !== undefined ? driver.probe(header, filename) : 0
    if (score > bestScore) {
      best = driver
      bestScore = score
    }
  }
  return best
}

/** Opens the `file` child that `flat` describes and guesses the format of what it holds. */
export async function probeFormat(request: OpenRequest, flat: FlatOptions): Promise<ProbeResult> {
  const { graph, main, call } = request
  const { own, child, reference } = splitChild(flat, 'file')
  if (typeof reference !== 'string' && Object.keys(child).length === 0) {
    throw new BlockError('EINVAL', "a node needs the option 'driver' or a file to guess it from", { op: 'open' })
  }
  const file =
    typeof reference === 'string'
      ? graph.node(reference)
      : await request.open({ ...request, depth: request.depth + 1 }, child, {
          parentKind: 'format',
          parentFlags: request.settings.flags ?? 0,
          parentOptions: own,
          role: BDRV_CHILD_DATA,
        })
  try {
    const header = await readHeader(file)
    const filename = typeof child.filename === 'string' ? child.filename : ''
    const driver = guessFormat(graph.registry.list(), header, filename) ?? graph.registry.find('raw')
    if (driver === undefined) throw new BlockError('EINVAL', 'the format of the image is not known', { op: 'probe' })
    return typeof reference === 'string' ? { driver, options: flat, file: undefined } : { driver, options: own, file }
  } catch (thrown) {
    await releaseNode(main, file, call)
    throw thrown
  }
}

async function readHeader(file: NodeState): Promise<Uint8Array> {
  const header = new Uint8Array(Math.min(BLOCK_PROBE_BUF_SIZE, file.state.length))
  if (header.byteLength === 0) return header
  // An edge of its own that is never linked: looking at a header asks nothing of other users.
  const edge = new EdgeState({ node: undefined, describe: () => 'format probing' }, file, 'probe', BDRV_CHILD_DATA)
  edge.perm = BLK_PERM_CONSISTENT_READ
  await read(edge, 0, header)
  return header
}
