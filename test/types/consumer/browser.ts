// A user without Node's types, with the default libraries of a browser: our declarations have to compile as they are.

import {
  BLK_PERM_ALL,
  BlockError,
  BlockGraph,
  builtinDrivers,
  createBackend,
  defineDriver,
  drained,
  openNode,
} from 'blockgraph'

export const graph = new BlockGraph({ drivers: builtinDrivers })

export async function use(): Promise<void> {
  const disk = await graph.mainLoop(async (main) => {
    const node = await openNode(main, graph, { driver: 'memory', size: '1M' })
    return createBackend(main, graph, { node, perm: BLK_PERM_ALL, shared: BLK_PERM_ALL })
  })
  await disk.write(0, new Uint8Array(512), { signal: new AbortController().signal })
  using quiet = await drained(...graph.nodes.values())
  if (quiet.ended) throw new BlockError('EIO', 'ended')
}

export const driver = defineDriver({
  name: 'empty',
  kind: 'protocol',
  options: {},
  open: () => ({ io: { length: () => 0, read: () => {} }, state: undefined }),
})
