// Storage that outlives its node: a sparse store in a test's hands, and a driver that opens it again and again, as a file
// is opened again after a crash.

import { ChunkStore, type MemoryState, openStore } from '../../drivers/memory.js'
import { type BlockDriver, defineDriver, type OpenedNode } from '../../global-state/driver.js'

export { ChunkStore } from '../../drivers/memory.js'

/**
 * A protocol driver called `name` whose node shows `store` and leaves it alone when closed. The same store may be opened
 * again, also by a driver of another graph.
 */
export function storageDriver(store: ChunkStore, name = 'storage'): BlockDriver {
  return defineDriver({
    name,
    kind: 'protocol',
    options: {},
    open: (context): OpenedNode<MemoryState> => openStore(store, context.node),
  })
}

/** A store with the given bytes. */
export function storageOf(content: Uint8Array): ChunkStore {
  const store = new ChunkStore(content.byteLength)
  store.write(0, content)
  return store
}

/** All bytes of a store; for small ones. */
export function contentOf(store: ChunkStore): Uint8Array {
  const content = new Uint8Array(store.length)
  store.read(0, content)
  return content
}
