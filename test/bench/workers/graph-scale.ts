// What an edit (a filter inserted and dropped again) and a drain cost in a graph of so many nodes, where both touch the same
// few nodes however large the graph is. Arguments: `disks` (many small stacks, raw over null-co) or `chain` (one backing
// chain, edited at its top), count of nodes. Times are medians, in microseconds.

import {
  BLK_PERM_ALL,
  type BlockGraph,
  createBackend,
  drained,
  dropFilter,
  insertNode,
  type NodeState,
  openNode,
} from 'blockgraph'
import { createGraph } from 'blockgraph/node'
import { overlayDriver } from 'blockgraph/testing'
import { medianOf } from '../support/statistics.js'

const WARM_UP = 300
const ROUNDS = 300

const [shape = 'disks', count = '10'] = process.argv.slice(2)
const graph = createGraph()
graph.registry.register(overlayDriver)
const node = shape === 'disks' ? await manyDisks(graph, Number(count)) : await longChain(graph, Number(count))
if (graph.nodes.size !== Number(count)) throw new Error(`${graph.nodes.size} nodes`)
const editUs = await medianTime(() => edit(graph, node))
const drainUs = await medianTime(async () => {
  const quiet = await drained(node)
  quiet.end()
})
console.log(JSON.stringify({ editUs, drainUs }))

/** Half as many disks as nodes, each with a backend; one from the middle. */
async function manyDisks(owner: BlockGraph, nodes: number): Promise<NodeState> {
  return owner.mainLoop(async (main) => {
    let chosen: NodeState | undefined
    for (let i = 0; i < nodes / 2; i++) {
      const disk = await openNode(main, owner, { driver: 'raw', file: { driver: 'null-co' } })
      await createBackend(main, owner, { node: disk, perm: BLK_PERM_ALL, shared: BLK_PERM_ALL })
      if (i === Math.floor(nodes / 4)) chosen = disk
    }
    if (chosen === undefined) throw new Error('no disk')
    return chosen
  })
}

/** The top of a chain, with a backend. */
async function longChain(owner: BlockGraph, nodes: number): Promise<NodeState> {
  return owner.mainLoop(async (main) => {
    let top = await openNode(main, owner, { driver: 'null-co', 'node-name': 'n0' })
    for (let i = 1; i < nodes; i++) {
      top = await openNode(main, owner, { driver: 'overlay', 'node-name': `n${i}`, backing: `n${i - 1}` })
    }
    await createBackend(main, owner, { node: top, perm: BLK_PERM_ALL, shared: BLK_PERM_ALL })
    return top
  })
}

async function edit(owner: BlockGraph, below: NodeState): Promise<void> {
  await owner.mainLoop(async (main) => {
    const quiet = await drained(below)
    try {
      const filter = await insertNode(main, quiet, below, { driver: 'throttle' })
      await dropFilter(main, quiet, filter)
    } finally {
      quiet.end()
    }
  })
}

async function medianTime(act: () => Promise<void>): Promise<number> {
  const times: number[] = []
  for (let i = 0; i < WARM_UP + ROUNDS; i++) {
    const began = performance.now()
    await act()
    if (i >= WARM_UP) times.push((performance.now() - began) * 1000)
  }
  return medianOf(times)
}
