// Seconds from opening an image to the last extent of its map, in a process that has used another image before: modules and
// native calls are loaded. Arguments: the image, and the other one.

import { blockStatusAbove, closeNode, openNode } from 'blockgraph'
import { createGraph } from 'blockgraph/node'

const [image = '', other = ''] = process.argv.slice(2)
const graph = createGraph()
await scan(other)
console.log(JSON.stringify(await scan(image)))

async function scan(filename: string): Promise<{ seconds: number; extents: number }> {
  const began = performance.now()
  const options = { driver: 'qcow2', 'read-only': true, file: { driver: 'file', filename } }
  const node = await graph.mainLoop((main) => openNode(main, graph, options))
  let extents = 0
  for (let at = 0; at < node.state.length; extents++) {
    at += (await blockStatusAbove(node, undefined, at, node.state.length - at)).bytes
  }
  const seconds = (performance.now() - began) / 1000
  await graph.mainLoop((main) => closeNode(main, node))
  return { seconds, extents }
}
