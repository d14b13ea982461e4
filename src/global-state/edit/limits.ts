// The limits of a node: its driver's, and those of its children merged in, computed on a proposed graph.

import { BDRV_CHILD_COW, BDRV_CHILD_DATA, BDRV_CHILD_FILTERED } from '../../common/child-role.js'
import { BlockError } from '../../common/error.js'
import { BDRV_MAX_ALIGNMENT, type BlockLimits, defaultLimits, mergeLimits } from '../../common/limits.js'
import { isPowerOfTwo } from '../../common/units.js'
import type { NodeState } from '../node-state.js'
import type { GraphPlan } from './plan.js'

const MERGED_ROLES = BDRV_CHILD_DATA | BDRV_CHILD_FILTERED | BDRV_CHILD_COW

/**
 * The limits that change when `plan` is carried out: those of `nodes` and, as far as they change, of their ancestors.
 * Throws EINVAL where a driver's limits are impossible.
 */
export function computeLimits(plan: GraphPlan, nodes: Iterable<NodeState>): Map<NodeState, BlockLimits> {
  const result = new Map<NodeState, BlockLimits>()
  const limitsOf = (node: NodeState) => result.get(node) ?? node.state.limits
  let round = new Set(nodes)
  while (round.size > 0) {
    const next = new Set<NodeState>()
    for (const node of round) {
      const limits = nodeLimits(plan, node, limitsOf)
      if (sameLimits(limits, limitsOf(node))) continue
      result.set(node, limits)
      for (const edge of plan.parentsOf(node)) if (edge.parentNode?.opened === true) next.add(edge.parentNode)
    }
    round = next
  }
  return result
}

function nodeLimits(plan: GraphPlan, node: NodeState, limitsOf: (node: NodeState) => BlockLimits): BlockLimits {
  const merged = plan.childrenOf(node).filter((edge) => (edge.role & MERGED_ROLES) !== 0)
  let limits = defaultLimits()
  if (merged.length > 0) limits = { ...limits, minMemAlignment: 1, optMemAlignment: 1 }
  for (const edge of merged) limits = mergeLimits(limits, limitsOf(plan.targetOf(edge)))
  limits = { ...limits, ...node.ownLimits }
  node.definition.refreshLimits?.(node.driverState, limits)
  checkLimits(node.nodeName, limits)
  return limits
}

function sameLimits(a: BlockLimits, b: BlockLimits): boolean {
  for (const key of Object.keys(a) as (keyof BlockLimits)[]) if (a[key] !== b[key]) return false
  return true
}

function checkLimits(node: string, limits: BlockLimits): void {
  const refuse = (what: string) => {
    throw new BlockError('EINVAL', `impossible limits: ${what}`, { node, op: 'limits' })
  }
  const { requestAlignment } = limits
  if (!isPowerOfTwo(requestAlignment) || requestAlignment > BDRV_MAX_ALIGNMENT) {
    refuse(`request alignment ${requestAlignment} is no power of two up to ${BDRV_MAX_ALIGNMENT}`)
  }
  const multiple = (value: number, of: number, name: string) => {
    if (value !== 0 && of !== 0 && value % of !== 0) refuse(`${name} ${value} is no multiple of ${of}`)
  }
  multiple(limits.discardAlignment, requestAlignment, 'discard alignment')
  multiple(limits.writeZeroesAlignment, requestAlignment, 'write-zeroes alignment')
  multiple(limits.maxTransfer, requestAlignment, 'maximum transfer')
  multiple(limits.maxDiscard, Math.max(limits.discardAlignment, requestAlignment), 'maximum discard')
  multiple(limits.maxWriteZeroes, Math.max(limits.writeZeroesAlignment, requestAlignment), 'maximum zero write')
}
