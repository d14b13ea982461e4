// Which section or request code runs in, told by Node's AsyncLocalStorage. Costs about 0.2 us a step, so it is opted into.

import { AsyncLocalStorage } from 'node:async_hooks'
import type { AsyncContext, ContextTracker } from '../common/context-tracker.js'

/** A tracker of its own storage; one serves any number of graphs. */
export function createContextTracker(): ContextTracker {
  const storage = new AsyncLocalStorage<AsyncContext>()
  return {
    run: (context, fn) => storage.run(context, fn),
    current: () => storage.getStore(),
  }
}
