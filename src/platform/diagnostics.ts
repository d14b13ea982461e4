// Events of a graph on node:diagnostics_channel: `blockgraph:<event>`, one channel an event, published only where somebody
// has subscribed.

import { channel } from 'node:diagnostics_channel'
import type { GraphEventName } from '../common/trace.js'
import type { BlockGraph } from '../global-state/graph.js'

/** Publishes every event of `graph`; call what is returned to stop. The message is the event's data, with the graph's `graph`. */
export function publishEvents(graph: BlockGraph): () => void {
  return graph.trace.listen((name: GraphEventName, event) => {
    const target = channel(`blockgraph:${name}`)
    if (target.hasSubscribers) target.publish({ graph, ...event })
  })
}
