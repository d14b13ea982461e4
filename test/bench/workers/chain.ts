// A backing chain of a thousand nodes, opened as one nested definition: opens, drains, reads through to its base, closes.
// Times in milliseconds.

import { BLK_PERM_ALL, chainDepth, closeNode, createBackend, drained, MiB, openNode } from 'blockgraph'
import { createGraph } from 'blockgraph/node'
import { overlayDriver } from 'blockgraph/testing'

const NODES = Number(process.argv[2] ?? 1000)

const graph = createGraph()
graph.registry.register(overlayDriver)
let options: Record<string, unknown> = { driver: 'null-co', 'node-name': 'base', size: MiB, 'read-zeroes': true }
for (let i = 1; i < NODES; i++) options = { driver: 'overlay', backing: options }

let began = performance.now()
const backend = await graph.mainLoop(async (main) => {
  const top = await openNode(main, graph, options)
  return createBackend(main, graph, { node: top, perm: BLK_PERM_ALL, shared: BLK_PERM_ALL })
})
const openMs = lap()
const base = graph.node('base')
const top = backend.node
if (top === undefined || graph.nodes.size !== NODES) throw new Error(`${graph.nodes.size} nodes`)
const depth = chainDepth(top)
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
  await closeNode(main, graph, top)
})
const closeMs = lap()
if (graph.nodes.size !== 0) throw new Error(`${graph.nodes.size} nodes are left`)
console.log(JSON.stringify({ openMs, drainMs, readMs, closeMs, depth }))

function lap(): number {
  const now = performance.now()
  const ms = now - began
  began = now
  return ms
}
