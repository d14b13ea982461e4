// Invariants 14 to 16: requests in flight are counted, and wait only for good reason.

import type { TrackedRequest } from '../../io/request-state.js'
import { type GraphView, type Invariant, must } from './invariant.js'

/** 14: the count of requests in flight is the length of the list. */
export const requestsCounted: Invariant = {
  id: '14 (requests are counted)',
  at: 'step',
  check({ graph }) {
    for (const { nodeName, state } of graph.nodes.values()) {
      let count = 0
      let serialising = 0
      for (let at = state.first; at !== undefined; at = at.next) {
        count++
        if (at.serialising) serialising++
        must(at.state === state, `${nodeName} lists a request of another node`)
        must(at.next === undefined || at.next.previous === at, `the list of ${nodeName} is torn`)
      }
      must(count === state.inFlight, `${nodeName} counts ${state.inFlight} requests, lists ${count}`)
      must(
        serialising === state.serialising,
        `${nodeName} counts ${state.serialising} serialising requests, lists ${serialising}`,
      )
    }
  },
}

/** 15: who waits, waits for somebody who is there and in its way; nobody waits in a ring. */
export const waitsAreJustified: Invariant = {
  id: '15 (waiting for a reason)',
  at: 'step',
  check({ graph }) {
    for (const { nodeName, state } of graph.nodes.values()) {
      const present = new Set<TrackedRequest>()
      for (let at = state.first; at !== undefined; at = at.next) present.add(at)
      for (const request of present) {
        const other = request.order?.waitingFor
        if (other === undefined) continue
        must(present.has(other), `a request of ${nodeName} waits for one that has left`)
        must(request.serialising || other.serialising, `a request of ${nodeName} waits though neither is serialising`)
        let at: TrackedRequest | undefined = other
        for (let hops = 0; at !== undefined; at = at.order?.waitingFor, hops++)
          must(hops <= present.size, `requests of ${nodeName} wait in a ring`)
      }
    }
  },
}

/** 14, second half: at rest nothing is in flight. */
export const idleAtRest: Invariant = {
  id: '14 (nothing in flight at rest)',
  at: 'rest',
  check({ graph, editing }: GraphView) {
    if (editing) return
    for (const { nodeName, state } of graph.nodes.values()) {
      must(state.inFlight === 0, `${nodeName} has ${state.inFlight} requests in flight`)
      must(state.activeFlush === undefined, `${nodeName} has a flush under way`)
      must(state.expediters === 0, `${nodeName} is still asked to hurry`)
    }
    for (const backend of graph.backends)
      must(backend.root.inFlight === 0, `backend ${backend.name} counts ${backend.root.inFlight} requests`)
  },
}

export const requestInvariants: readonly Invariant[] = [requestsCounted, waitsAreJustified, idleAtRest]
