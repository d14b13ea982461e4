// Handing an image over to another process and back: an inactive node takes no writes; its users keep their
// edges.

import { BlockError, toBlockError } from '../../common/error.js'
import { BDRV_O_INACTIVE } from '../../common/open-flags.js'
import { BLK_PERM_WRITE, BLK_PERM_WRITE_UNCHANGED } from '../../common/permissions.js'
import { drainedNodes } from '../../io/drained.js'
import { flushNode } from '../../io/flush.js'
import { refreshLength } from '../../io/truncate.js'
import { forgetStored, loadStored, storeAll } from '../bitmaps/stored-bitmaps.js'
import { applyPlan } from '../edit/apply-plan.js'
import { cumulative } from '../edit/permission-update.js'
import { GraphPlan } from '../edit/plan.js'
import type { BlockGraph } from '../graph.js'
import type { MainLoop, MainLoopCall } from '../main-loop.js'
import type { NodeState } from '../node-state.js'

/** Makes `node` and everything below it active. On failure the node that failed is inactive as before. */
export function activate(main: MainLoop, node: NodeState): Promise<void> {
  return main.call('activate', node.environment, async (call) => {
    for (const each of childrenFirst([node])) await activateOne(call, each)
  })
}

/** Makes every node active. */
export function activateAll(main: MainLoop, graph: BlockGraph): Promise<void> {
  return main.call('activateAll', graph.environment, async (call) => {
    for (const each of childrenFirst([...graph.nodes.values()])) await activateOne(call, each)
  })
}

/**
 * Makes every node inactive, parents first. EPERM, everything active as before, where somebody still holds a write
 * permission on a node from outside the graph.
 */
export function inactivateAll(main: MainLoop, graph: BlockGraph): Promise<void> {
  return main.call('inactivateAll', graph.environment, async (call) => {
    const nodes = childrenFirst([...graph.nodes.values()]).reverse()
    if (nodes.length === 0) return
    const quiet = await drainedNodes(nodes, { signal: call.signal })
    const done: NodeState[] = []
    try {
      for (const node of nodes) {
        if (node.inactive) continue
        await inactivateOne(call, node)
        done.push(node)
      }
    } catch (thrown) {
      for (const node of done.reverse()) await activateOne(call, node, true)
      throw thrown
    } finally {
      quiet.end()
    }
  })
}

async function activateOne(call: MainLoopCall, node: NodeState, takingBack = false): Promise<void> {
  if (!node.inactive) return
  await setInactive(call, node, false, 'activate', takingBack)
  try {
    await node.definition.activate?.(node.driverState)
    await refreshLength(node)
    await loadStored(node)
  } catch (thrown) {
    await setInactive(call, node, true, 'activate', true)
    throw toBlockError(thrown, { node: node.nodeName, op: 'activate' })
  }
}

async function inactivateOne(call: MainLoopCall, node: NodeState): Promise<void> {
  if ((cumulative(node).perm & (BLK_PERM_WRITE | BLK_PERM_WRITE_UNCHANGED)) !== 0) {
    throw new BlockError('EPERM', 'somebody still holds a write permission on it', {
      node: node.nodeName,
      op: 'inactivate',
    })
  }
  if (!node.readOnly) await flushNode(node)
  await storeAll(node)
  forgetStored(node)
  await node.definition.inactivate?.(node.driverState)
  try {
    await setInactive(call, node, true, 'inactivate')
  } catch (thrown) {
    // The driver has let go already, so it takes the image up again.
    await node.definition.activate?.(node.driverState)
    await loadStored(node)
    throw thrown
  }
}

async function setInactive(
  call: MainLoopCall,
  node: NodeState,
  inactive: boolean,
  op: string,
  takingBack = false,
): Promise<void> {
  const plan = new GraphPlan()
  plan.unconditional = takingBack
  plan.setOpenFlags(node, inactive ? node.openFlags | BDRV_O_INACTIVE : node.openFlags & ~BDRV_O_INACTIVE)
  await applyPlan(call, plan, undefined, op)
}

/** `roots` and all nodes below them, every child before its parents. */
function childrenFirst(roots: readonly NodeState[]): NodeState[] {
  const order: NodeState[] = []
  const seen = new Set<NodeState>()
  for (const root of roots) {
    const stack = [{ node: root, leaving: false }]
    for (let top = stack.pop(); top !== undefined; top = stack.pop()) {
      if (top.leaving) {
        order.push(top.node)
      } else if (!seen.has(top.node)) {
        seen.add(top.node)
        stack.push({ node: top.node, leaving: true })
        for (const edge of top.node.children) stack.push({ node: edge.node, leaving: false })
      }
    }
  }
  return order
}
