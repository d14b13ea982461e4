// What always holds in a graph, as functions that throw where it does not. Each says when it may be asked: after every step of
// the scheduler, or only at rest, when nothing can run.

import type { BlockGraph } from '../../global-state/graph.js'

/** A graph as an invariant sees it. */
export interface GraphView {
  readonly graph: BlockGraph
  /** A main-loop section is changing the graph: nodes may be half open, and sections may be open that nobody listed. */
  readonly editing: boolean
}

/** Something that always holds of a {@link GraphView}, or of more where a test knows more. */
export interface Invariant<View = GraphView> {
  /** Numbers of the list of invariants this stands for. */
  readonly id: string
  readonly at: 'step' | 'rest'
  check(view: View): void
}

/** Throws unless `condition`. */
export function must(condition: boolean, message: string): void {
  if (!condition) throw new Error(message)
}

/** Checks all of `invariants` that may be asked now; the error names the one that does not hold. */
export function checkInvariants<View>(invariants: readonly Invariant<View>[], view: View, atRest: boolean): void {
  for (const invariant of invariants) {
    if (invariant.at === 'rest' && !atRest) continue
    try {
      invariant.check(view)
    } catch (thrown) {
      const message = thrown instanceof Error ? thrown.message : String(thrown)
      throw new Error(`invariant ${invariant.id} is broken: ${message}`, { cause: thrown })
    }
  }
}
