// Invariants 11 to 13: who is quiesced, how often, and what that means.

import { ancestorsOf } from '../../io/ancestors.js'
import { BackendRoot } from '../../io/backend/root.js'
import type { BlockDriverState } from '../../io/block-node.js'
import type { DrainedSection } from '../../io/drained.js'
import { type GraphView, type Invariant, must } from './invariant.js'

/** A graph with the sections somebody holds or waits for. `nodes` undefined: drain-all. */
export interface SectionView extends GraphView {
  readonly sections: readonly { nodes: readonly BlockDriverState[] | undefined; section: DrainedSection | undefined }[]
}

/** 12: a parent has been told to stop exactly while its child is quiesced. */
export const parentsTold: Invariant = {
  id: '12 (parents told)',
  at: 'step',
  check({ graph }) {
    for (const node of graph.nodes.values()) {
      const quiesced = node.state.quiesceCounter > 0
      for (const edge of node.parents) {
        must(
          edge.quiesced === quiesced,
          `${edge.parent.describe()} is ${edge.quiesced ? '' : 'not '}told to stop, counter ${node.state.quiesceCounter}`,
        )
        if (edge.parent instanceof BackendRoot) {
          must(
            edge.parent.quiesced === (quiesced ? 1 : 0),
            `${edge.parent.describe()} counts ${edge.parent.quiesced} sections`,
          )
        }
      }
    }
    for (const { root, node, name } of graph.backends) {
      if (node === undefined)
        must(root.quiesced === 0, `backend ${name} has no medium but counts ${root.quiesced} sections`)
    }
  },
}

/** 11: the counter of a node, recomputed from the leaves. During an edit there may be sections that nobody listed. */
export const countersAddUp: Invariant<SectionView> = {
  id: '11 (quiesce counters add up)',
  at: 'step',
  check({ graph, editing, sections }) {
    for (const node of graph.nodes.values()) {
      let expected = node.children.filter((edge) => edge.node.state.quiesceCounter > 0).length
      for (const { nodes, section } of sections) {
        if (section?.ended === true) continue
        if (nodes === undefined || nodes.includes(node)) expected++
      }
      const { quiesceCounter } = node.state
      const right = editing ? quiesceCounter >= expected : quiesceCounter === expected
      must(right, `${node.nodeName} is quiesced ${quiesceCounter} times, expected ${expected}`)
    }
  },
}

/** 13: inside a section no request that entered by a root is under way at its nodes and their ancestors. */
export const sectionsAreQuiet: Invariant<SectionView> = {
  id: '13 (quiet inside a section)',
  at: 'step',
  check({ graph, editing, sections }) {
    for (const { nodes, section } of sections) {
      if (section === undefined || section.ended) continue
      for (const node of ancestorsOf(nodes ?? graph.nodes.values())) {
        // What global state itself flushes on a drained node is its own affair.
        if (!editing)
          must(
            node.state.inFlight === 0,
            `${node.nodeName} is drained but has ${node.state.inFlight} requests in flight`,
          )
        for (const edge of node.parents) {
          if (!(edge.parent instanceof BackendRoot)) continue
          must(
            edge.parent.inFlight === 0,
            `${edge.parent.describe()} has ${edge.parent.inFlight} requests in flight on a drained node`,
          )
        }
      }
    }
  },
}

export const quiesceInvariants: readonly Invariant<SectionView>[] = [parentsTold, countersAddUp, sectionsAreQuiet]
