// Pictures of the graph, as it is at that moment.

import { writeFile } from 'node:fs/promises'
import { Graphviz } from '@hpcc-js/wasm-graphviz'
import { type BlockGraph, describeGraph, graphToDot } from 'blockgraph/node'

/** Draws `graph`, as it is when this is called, to an SVG file. */
export async function drawGraph(graph: BlockGraph, path: string): Promise<void> {
  const dot = graphToDot(describeGraph(graph))
  const graphviz = await Graphviz.load()
  await writeFile(path, graphviz.dot(dot))
}
