// Whether one node is below another in a proposed graph.

import type { NodeState } from '../node-state.js'
import type { GraphPlan } from './plan.js'

/**
 * Whether `to` is `from` or below it. Looks downwards from `from` and upwards from `to` in turn and stops as soon as one
 * side is exhausted, so that an edit near the top or the bottom of a large graph stays cheap.
 */
export function reaches(plan: GraphPlan, from: NodeState, to: NodeState): boolean {
  if (from === to) return true
  const below = new Set([from])
  const above = new Set([to])
  let down: NodeState[] = [from]
  let up: NodeState[] = [to]
  while (down.length > 0 && up.length > 0) {
    const nextDown: NodeState[] = []
    for (const node of down) {
      for (const edge of plan.childrenOf(node)) {
        const child = plan.targetOf(edge)
        if (above.has(child)) return true
        if (!below.has(child)) {
          below.add(child)
          nextDown.push(child)
        }
      }
    }
    down = nextDown
    const nextUp: NodeState[] = []
    for (const node of up) {
      for (const edge of plan.parentsOf(node)) {
        const parent = edge.parentNode
        if (parent === undefined) continue
        if (below.has(parent)) return true
        if (!above.has(parent)) {
          above.add(parent)
          nextUp.push(parent)
        }
      }
    }
    up = nextUp
  }
  return false
}
