// A backing chain of a thousand nodes: opened from its base up, drained at both ends, read through to its base, closed from
// its top down. Times in milliseconds; a worker that ends has found everything as it should be.

import { BLK_PERM_ALL, chainDepth, closeNode, createBackend, drained, MiB, openNode } from 'blockgraph'
import { createGraph } from 'blockgraph/node'
import { overlayDriver } from 'blockgraph/testing'

const NODES = Number(process.argv[2] ?? 1000)

const graph = createGraph()
graph.registry.register(overlayDriver)

let began = performance.now()
const backend = await graph.mainLoop(async (main) => {
  let node = await openNode(main, graph, { driver: 'null-co', 'node-name': 'n0', size: MiB, 'read-zeroes': true })
  for (let i = 1; i < NODES; i++) {
    node = await openNode(main, graph, { driver: 'overlay', 'node-name': `n${i}`, backing: `n${i - 1}` })
  }
  return createBackend(main, graph, { node, perm: BLK_PERM_ALL, shared: BLK_PERM_ALL })
})
const openMs = lap()
const base = graph.node('n0')
const top = graph.node(`n${NODES - 1}`)
if (chainDepth(top) !== NODES) throw new Error(`a chain of ${chainDepth(top)} nodes`)
for (const node of [top, base]) {
  const quiet = await drained(node)
  quiet.end()
}
const drainMs = lap()
const buffer = new Uint8Array(4096).fill(1)
await backend.read(0, buffer)
if (buffer.some((byte) => byte !== 0)) throw new Error('the base reads as zeroes')
const readMs = lap()
await graph.mainLoop(async (main) => {
  await backend.close(main)
  for (let i = NODES - 1; i >= 0; i--) await closeNode(main, graph.node(`n${i}`))
})
const closeMs = lap()
if (graph.nodes.size !== 0) throw new Error(`${graph.nodes.size} nodes are left`)
console.log(JSON.stringify({ openMs, drainMs, readMs, closeMs }))

function lap(): number {
  const now = performance.now()
  const ms = now - began
  began = now
  return ms
}
