// An overlay that is gone when it is closed: what a snapshot open writes to. Its file loses its name at once, and the host
// keeps what is in it for as long as it is open.

import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { BDRV_SECTOR_SIZE } from '../common/limits.js'
import { alignUp } from '../common/units.js'
import type { BlockGraph } from '../global-state/graph.js'
import { closeNode, dropHold } from '../global-state/life/close.js'
import { createImage } from '../global-state/life/create-image.js'
import { openNode } from '../global-state/life/open.js'
import type { OpenSettings } from '../global-state/life/open-request.js'
import type { MainLoop } from '../global-state/main-loop.js'
import type { NodeState } from '../global-state/node-state.js'
import type { FlatOptions } from '../global-state/options/options.js'

const FORMAT = 'qcow2'

/** Opens the image that `options` say, read-only, and a new overlay above it, which is returned; that may be read-only too. */
export async function openTemporaryOverlay(
  main: MainLoop,
  graph: BlockGraph,
  options: FlatOptions,
  settings: OpenSettings,
  writable: boolean,
): Promise<NodeState> {
  if (graph.registry.find(FORMAT) === undefined) throw new Error(`Unknown driver '${FORMAT}'`)
  const base = await openNode(main, graph, options, settings)
  try {
    const overlay = await openNewOverlay(main, graph, base, writable)
    await dropHold(main, base)
    return overlay
  } catch (thrown) {
    await closeNode(main, base)
    throw thrown
  }
}

async function openNewOverlay(
  main: MainLoop,
  graph: BlockGraph,
  base: NodeState,
  writable: boolean,
): Promise<NodeState> {
  const folder = await mkdtemp(join(tmpdir(), 'blockgraph-'))
  try {
    const filename = join(folder, `overlay.${FORMAT}`)
    const size = alignUp(base.state.length, BDRV_SECTOR_SIZE)
    await createImage(main, graph, { filename, format: FORMAT, size })
    const file = { driver: 'file', filename, discard: 'unmap' }
    const access = { 'read-only': !writable, discard: 'unmap' }
    return await openNode(main, graph, { driver: FORMAT, ...access, file, backing: base.nodeName })
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}
