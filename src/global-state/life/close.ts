// The end of a node. A node whose last reference goes is drained, flushed, closed and detached from its children, and those
// that lose their last reference with it follow, by a worklist: a chain of any length closes.

import { assert } from '../../common/assert.js'
import { BlockError } from '../../common/error.js'
import { drained, endQuiesce } from '../../io/drained.js'
import { flushNode } from '../../io/flush.js'
import { storeAll } from '../bitmaps/stored-bitmaps.js'
import { applyPlan } from '../edit/apply-plan.js'
import { GraphPlan } from '../edit/plan.js'
import type { MainLoop, MainLoopCall } from '../main-loop.js'
import type { NodeState } from '../node-state.js'

/**
 * Drops the caller's hold on a node and closes it. Rejects with EBUSY, nothing changed, while others use it, and with EPERM
 * while a link of it is frozen. An error of the last flush or of the driver is reported after everything has been closed.
 */
export function closeNode(main: MainLoop, node: NodeState): Promise<void> {
  return main.call('closeNode', node.environment, async (call) => {
    if (node.graph.nodes.get(node.nodeName) !== node)
      throw new BlockError('ENODEV', 'it is closed already, or about to be', { node: node.nodeName, op: 'close' })
    const user = node.parents.values().next().value
    if (user !== undefined) {
      throw new BlockError('EBUSY', `it is in use by ${user.parent.describe()} (as '${user.name}')`, {
        node: node.nodeName,
        op: 'close',
      })
    }
    refuseBlocked(node)
    refuseFrozenLinks(node)
    if (node.holds > 0) node.holds -= 1
    await releaseNode(main, node, call)
  })
}

/** Drops one hold on a node, which closes now or, where others use it still, with the last of them. */
export function dropHold(main: MainLoop, node: NodeState): Promise<void> {
  return main.call('dropHold', node.environment, async (call) => {
    assert(node.holds > 0, `dropHold: nobody holds node '${node.nodeName}'`)
    node.holds -= 1
    await releaseNode(main, node, call)
  })
}

/** Closes `node` if nothing refers to it any more, and then its children likewise. Rejects with the first error, at the end. */
export async function releaseNode(main: MainLoop, node: NodeState, call: MainLoopCall): Promise<void> {
  const errors: unknown[] = []
  const worklist = [node]
  for (let next = worklist.pop(); next !== undefined; next = worklist.pop()) {
    // A frozen link is not detached: whoever froze it still needs the node above it.
    if (next.references > 0 || next.closing || next.children.some((edge) => edge.frozen)) continue
    for (const child of await closeOne(main, next, call, errors)) worklist.push(child)
  }
  if (errors.length > 0) throw errors[0]
}

function refuseBlocked(node: NodeState): void {
  if (!node.hasOpBlockers) return
  const [reason] = [...node.opBlockers.values()].flat()
  throw new BlockError('EBUSY', `it is busy: ${reason?.message ?? 'an operation is blocked'}`, {
    node: node.nodeName,
    op: 'close',
  })
}

function refuseFrozenLinks(node: NodeState): void {
  const frozen = node.children.find((edge) => edge.frozen)
  if (frozen === undefined) return
  throw new BlockError('EPERM', `its link '${frozen.name}' to node '${frozen.node.nodeName}' is frozen`, {
    node: node.nodeName,
    op: 'close',
  })
}

async function closeOne(main: MainLoop, node: NodeState, call: MainLoopCall, errors: unknown[]): Promise<NodeState[]> {
  assert(node.parents.size === 0, `node '${node.nodeName}' is closed while it has parents`)
  const { graph } = node
  const attempt = async (act: () => void | Promise<void>) => {
    try {
      await act()
    } catch (thrown) {
      errors.push(thrown)
    }
  }
  // From here on nobody may take a reference: the node is on its way out and its lookups end now.
  graph.removeNode(main, node)
  node.closing = true
  // Open drain-alls know the node no longer; what they owe it is released here.
  const owed = graph.drainAllDepth
  const quiet = await drained(node)
  try {
    if (node.opened && !node.readOnly && !node.inactive) await attempt(() => flushNode(node))
    if (node.opened) await attempt(() => storeAll(node))
    if (node.opened) await attempt(() => node.definition.close?.(node.driverState))
    node.closed = true
    const children = node.children.map((edge) => edge.node)
    await attempt(() => detachAll(node, call))
    node.state.bitmaps = []
    graph.trace.emit('node-closed', { node: node.nodeName, driver: node.driver.name })
    return children
  } finally {
    quiet.end()
    for (let depth = 0; depth < owed; depth++) endQuiesce([node])
  }
}

/** Takes the node's links away. Users of the children only gain by it, so that no permission can stand in the way. */
async function detachAll(node: NodeState, call: MainLoopCall): Promise<void> {
  const plan = new GraphPlan()
  plan.unconditional = true
  for (const edge of [...node.children]) plan.detach(edge)
  await applyPlan(call, plan, undefined, 'close')
}
