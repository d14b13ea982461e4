// Whether one node may be put in the place of another below a given node, as a mirror does: only where both
// surely show the same data.

import { BlockError, quoteOutside } from '../common/error.js'
import { filterChild } from '../io/block-node.js'
import type { BlockGraph } from './graph.js'
import { NodeState } from './node-state.js'
import { refuseBlockedOp } from './op-blockers.js'

/** Whether `other`, at or below `node`, surely shows the data of `node`: itself, through filters, or as its driver says. */
export function canReplace(node: NodeState, other: NodeState): boolean {
  for (let at: NodeState | undefined = node; at !== undefined; ) {
    if (at === other) return true
    const { definition } = at
    if (definition.recurseCanReplace !== undefined) return definition.recurseCanReplace(at.driverState, at, other)
    const child: unknown = filterChild(at)?.node
    at = child instanceof NodeState ? child : undefined
  }
  return false
}

/** The node called `name`, if it may be replaced under `parent`. EBUSY where replacing it is blocked, EINVAL where it shows other data. */
export function nodeToReplace(graph: BlockGraph, parent: NodeState, name: string): NodeState {
  const node = graph.node(name)
  refuseBlockedOp(node, 'replace')
  if (!canReplace(parent, node)) {
    throw new BlockError('EINVAL', `node ${quoteOutside(name)} may show other data and cannot be replaced`, {
      node: parent.nodeName,
      op: 'replace',
    })
  }
  return node
}
