// What must not compile about the main loop's token, each next to the same thing without the mistake. Type-checked, never
// run.

import { createBackend } from '../../src/global-state/backend.js'
import { replaceNode, setBacking } from '../../src/global-state/edit/graph-edit.js'
import type { BlockGraph } from '../../src/global-state/graph.js'
import { closeNode } from '../../src/global-state/life/close.js'
import { openNode } from '../../src/global-state/life/open.js'
import { MainLoop } from '../../src/global-state/main-loop.js'
import type { NodeState } from '../../src/global-state/node-state.js'
import type { BlockChild } from '../../src/io/block-node.js'
import { type DrainedSection, drained } from '../../src/io/drained.js'
import { read } from '../../src/io/read.js'

declare const graph: BlockGraph
declare const node: NodeState
declare const other: NodeState
declare const edge: BlockChild
declare const main: MainLoop
declare const quiet: DrainedSection
declare const bytes: Uint8Array

export async function tokens(): Promise<void> {
  await closeNode(main, node)
  // @ts-expect-error A graph function without its token.
  await closeNode(graph, node)
  // @ts-expect-error An object that has nothing of a token.
  await closeNode({}, graph, node)
  // @ts-expect-error An object of the same shape: private fields make the class nominal.
  await closeNode({ live: true, check() {}, call: main.call }, graph, node)
  // @ts-expect-error A token of one's own making: the constructor is private.
  await closeNode(new MainLoop(), graph, node)
  const promised = graph.mainLoop(async (token) => token)
  // @ts-expect-error The promise of a token.
  await closeNode(promised, node)
  // @ts-expect-error A subclass cannot be made either.
  class Forged extends MainLoop {}
  await openNode(main, graph, { driver: 'memory' })
  // @ts-expect-error Opening changes the graph.
  await openNode(graph, { driver: 'memory' })
  await createBackend(main, graph, { perm: 0, shared: 0 })
  // @ts-expect-error So does a new backend.
  await createBackend(graph, { perm: 0, shared: 0 })
  return void Forged
}

export async function ioTakesNoToken(): Promise<void> {
  await read(edge, 0, bytes)
  // @ts-expect-error An I/O function is not handed a token.
  await read(main, edge, 0, bytes)
}

export async function sections(): Promise<void> {
  await replaceNode(main, quiet, node, other)
  // @ts-expect-error Rewiring edges without a drained section.
  await replaceNode(main, node, other)
  // @ts-expect-error A forgotten await: the promise of a section is none.
  await replaceNode(main, drained(node, other), node, other)
  // @ts-expect-error A section of one's own making.
  await replaceNode(main, { ...quiet, covers: () => true, end() {}, [Symbol.dispose]() {} }, node, other)
  await setBacking(main, quiet, node, undefined)
  // @ts-expect-error Token and section changed round.
  await setBacking(quiet, main, node, undefined)
  const awaited = await drained(node)
  awaited.end()
  // @ts-expect-error A forgotten await: what drained returns has no end.
  drained(node).end()
}
