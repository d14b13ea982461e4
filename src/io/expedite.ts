// The hint that somebody above waits: nodes below a drained one and its ancestors release what waits on a timer. Given
// once per waiting drain and node, taken back when the wait is over.

import { ancestorsOf } from './ancestors.js'
import { reportBackground } from './background.js'
import type { BlockDriverState } from './block-node.js'

/** The nodes that one waiting drain has asked to hurry. */
export class Expedition {
  readonly #asked = new Set<BlockDriverState>()

  /** Asks all nodes at, above and below `nodes` that were not asked yet. */
  reach(nodes: readonly BlockDriverState[]): void {
    for (const node of ancestorsOf(nodes)) {
      if (node.state.inFlight > 0) this.#askBelow(node)
    }
  }

  /** Takes the hint back. */
  end(): void {
    for (const node of this.#asked) {
      node.state.expediters--
      if (node.state.expediters === 0) tell(node, false)
    }
    this.#asked.clear()
  }

  #askBelow(top: BlockDriverState): void {
    if (this.#asked.has(top)) return
    const work = [top]
    for (let node = work.pop(); node !== undefined; node = work.pop()) {
      if (this.#asked.has(node)) continue
      this.#asked.add(node)
      node.state.expediters++
      if (node.state.expediters === 1) tell(node, true)
      for (const edge of node.children) work.push(edge.node)
    }
  }
}

function tell(node: BlockDriverState, on: boolean): void {
  if (node.closed || node.io.expedite === undefined) return
  try {
    node.io.expedite(on)
  } catch (error) {
    reportBackground(node, error)
  }
}
