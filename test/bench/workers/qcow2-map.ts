// Seconds from opening an image to the last extent of its map. Argument: the image.

import { blockStatusAbove, closeNode, openNode } from 'blockgraph'
import { createGraph } from 'blockgraph/node'

const filename = process.argv[2] ?? ''
const graph = createGraph()
const began = performance.now()
const options = { driver: 'qcow2', 'read-only': true, file: { driver: 'file', filename } }
const node = await graph.mainLoop((main) => openNode(main, graph, options))
let extents = 0
for (let at = 0; at < node.state.length; extents++) {
  at += (await blockStatusAbove(node, undefined, at, node.state.length - at)).bytes
}
const seconds = (performance.now() - began) / 1000
await graph.mainLoop((main) => closeNode(main, node))
console.log(JSON.stringify({ seconds, extents }))
