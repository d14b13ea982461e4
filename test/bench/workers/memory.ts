// Bytes of memory per idle node and per request in flight, by the heap after a full collection. Argument: `nodes` (null-co
// nodes alone), `stacks` (raw over null-co, with the edges between them) or `requests` (raw over a driver that answers late,
// the buffer not counted, since all share one).

import { BLK_PERM_ALL, BlockGraph, builtinDrivers, createBackend, defineDriver, MiB, openNode } from 'blockgraph'

const COUNT = 10_000
const WARM_UP = 200

const released: (() => void)[] = []
const lateDriver = defineDriver({
  name: 'late',
  kind: 'protocol',
  options: {},
  open: () => ({
    io: { length: () => MiB, read: () => new Promise<void>((resolve) => released.push(resolve)) },
    state: undefined,
  }),
})

const graph = new BlockGraph({ drivers: [...builtinDrivers, lateDriver] })
const what = process.argv[2] ?? 'nodes'
if (what === 'requests') console.log(JSON.stringify({ bytes: await perRequest() }))
else console.log(JSON.stringify({ bytes: await perNode(what === 'stacks') }))

async function perNode(stacked: boolean): Promise<number> {
  const each = stacked ? { driver: 'raw', file: { driver: 'null-co' } } : { driver: 'null-co' }
  const open = (count: number) =>
    graph.mainLoop(async (main) => {
      for (let i = 0; i < count; i++) await openNode(main, graph, each)
    })
  await open(WARM_UP)
  const nodesBefore = graph.nodes.size
  const before = used()
  await open(stacked ? COUNT / 2 : COUNT)
  return (used() - before) / (graph.nodes.size - nodesBefore)
}

async function perRequest(): Promise<number> {
  const backend = await graph.mainLoop(async (main) => {
    const node = await openNode(main, graph, { driver: 'raw', file: { driver: 'late' } })
    return createBackend(main, graph, { node, perm: BLK_PERM_ALL, shared: BLK_PERM_ALL })
  })
  const buffer = new Uint8Array(4096)
  const warmUp = [backend.read(0, buffer)]
  released.pop()?.()
  await warmUp[0]
  const pending = new Array<Promise<void>>(COUNT)
  const before = used()
  for (let i = 0; i < COUNT; i++) pending[i] = backend.read(0, buffer)
  const bytes = (used() - before) / COUNT
  if (backend.root.inFlight !== COUNT) throw new Error(`${backend.root.inFlight} requests in flight`)
  for (const release of released) release()
  await Promise.allSettled(pending)
  return bytes
}

function used(): number {
  for (let i = 0; i < 4; i++) globalThis.gc?.()
  const { heapUsed, external } = process.memoryUsage()
  return heapUsed + external
}
