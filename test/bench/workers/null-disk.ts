// raw over null: what is left is the cost of the request path.

import { BLK_PERM_ALL, type BlockBackend, type BlockGraph, createBackend, openNode } from 'blockgraph'
import { createGraph } from 'blockgraph/node'

/** Which of the two null drivers: one completes at once, the other in a later microtask. */
export type NullDriver = 'null-co' | 'null-aio'

/** A backend of its own node pair in `graph`. */
export function nullBackend(driver: NullDriver, graph: BlockGraph = createGraph()): Promise<BlockBackend> {
  return graph.mainLoop(async (main) => {
    const node = await openNode(main, graph, { driver: 'raw', file: { driver } })
    return createBackend(main, graph, { node, perm: BLK_PERM_ALL, shared: BLK_PERM_ALL })
  })
}
