// Operation blockers: why an operation may not be begun on a node. Older than permissions and advisory: whoever
// begins such an operation asks.

import { BDRV_CHILD_COW } from '../common/child-role.js'
import { BlockError } from '../common/error.js'
import { BLOCK_OP_TYPES, type BlockOpType } from '../common/op-types.js'
import type { MainLoop } from './main-loop.js'
import type { BlockReason, NodeState } from './node-state.js'

/** Blocks `op` on `node` for `reason`, which is compared by identity when it is taken back. */
export function blockOp(main: MainLoop, node: NodeState, op: BlockOpType, reason: BlockReason): void {
  main.check('blockOp', node.environment)
  const reasons = node.opBlockers.get(op)
  if (reasons === undefined) node.opBlockers.set(op, [reason])
  else reasons.push(reason)
}

/** Takes back what {@link blockOp} did with the same reason. */
export function unblockOp(main: MainLoop, node: NodeState, op: BlockOpType, reason: BlockReason): void {
  main.check('unblockOp', node.environment)
  const left = (node.opBlockers.get(op) ?? []).filter((other) => other !== reason)
  if (left.length === 0) node.opBlockers.delete(op)
  else node.opBlockers.set(op, left)
}

/** Blocks every operation but those in `except`. */
export function blockAllOps(
  main: MainLoop,
  node: NodeState,
  reason: BlockReason,
  except: readonly BlockOpType[] = [],
): void {
  for (const op of BLOCK_OP_TYPES) if (!except.includes(op)) blockOp(main, node, op, reason)
}

/** Takes `reason` back from every operation. */
export function unblockAllOps(main: MainLoop, node: NodeState, reason: BlockReason): void {
  for (const op of BLOCK_OP_TYPES) unblockOp(main, node, op, reason)
}

/** Throws EBUSY ("node is busy: why") where `op` is blocked, also by an overlay of the node. */
export function refuseBlockedOp(node: NodeState, op: BlockOpType): void {
  const reason = node.hasOpBlockers ? node.opBlockers.get(op)?.[0]?.message : undefined
  const why = reason ?? (ALLOWED_ON_BACKING.includes(op) ? undefined : overlayReason(node))
  if (why !== undefined) throw new BlockError('EBUSY', `node is busy: ${why}`, { node: node.nodeName, op })
}

/** A backing file is busy for most operations as long as it has an overlay; that follows from the graph and is not stored. */
function overlayReason(node: NodeState): string | undefined {
  for (const edge of node.parents) {
    if ((edge.role & BDRV_CHILD_COW) !== 0) return `it is the backing file of ${edge.parent.describe()}`
  }
  return undefined
}

/** The operations blocked on `node`, with the reasons. */
export function blockedOps(node: NodeState): ReadonlyMap<BlockOpType, readonly BlockReason[]> {
  return node.hasOpBlockers ? node.opBlockers : new Map()
}

/** What an overlay still allows to be done with the node behind it. */
export const ALLOWED_ON_BACKING: readonly BlockOpType[] = ['commit-target', 'stream', 'backup-source', 'backup-target']
