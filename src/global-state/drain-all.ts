// Draining the whole graph: every node that exists at the end of the wait is quiesced once for it, and so is every node made
// while the section lasts.

import type { AsyncContext } from '../common/context-tracker.js'
import type { BlockDriverState } from '../io/block-node.js'
import { beginQuiesce, DrainedSection, type DrainOptions, endQuiesce, waitUntilIdle } from '../io/drained.js'
import type { BlockGraph } from './graph.js'
import type { MainLoop } from './main-loop.js'
import type { NodeState } from './node-state.js'

/** A section that covers every node of a graph, also those opened inside it. */
export class DrainAllSection extends DrainedSection {
  readonly #graph: BlockGraph

  private constructor(graph: BlockGraph, context?: AsyncContext) {
    super([], context)
    this.#graph = graph
  }

  /** Quiesces every node and waits until nothing is in flight. See {@link drainAll}, which asks for the token. */
  static async beginAll(graph: BlockGraph, options: DrainOptions): Promise<DrainAllSection> {
    graph.drainAllDepth += 1
    beginQuiesce(graph.nodes.values())
    try {
      await waitForAll(graph, options)
    } catch (thrown) {
      graph.drainAllDepth -= 1
      endQuiesce(graph.nodes.values())
      throw thrown
    }
    graph.trace.emit('drain-begin', { nodes: [...graph.nodes.keys()] })
    return new DrainAllSection(graph, graph.environment.tracker?.current())
  }

  override covers(node: BlockDriverState): boolean {
    return !this.ended && this.#graph.environment === node.state.environment
  }

  override end(): void {
    this.markEnded()
    this.#graph.drainAllDepth -= 1
    endQuiesce(this.#graph.nodes.values())
    this.#graph.trace.emit('drain-end', { nodes: [...this.#graph.nodes.keys()] })
  }
}

/** Waits until nothing is in flight anywhere in the graph; it stays so until the section is ended. Does not flush. */
export function drainAll(main: MainLoop, graph: BlockGraph, options: DrainOptions = {}): Promise<DrainAllSection> {
  return main.call('drainAll', graph.environment, (call) =>
    DrainAllSection.beginAll(graph, { signal: call.signal, ...options }),
  )
}

/** Nodes may come and go during the wait, so it is over only when a look at all present ones finds them idle. */
async function waitForAll(graph: BlockGraph, options: DrainOptions): Promise<void> {
  for (let known = 0; known !== graph.generation; ) {
    known = graph.generation
    await waitUntilIdle([...graph.nodes.values()], { label: 'drain of all nodes', ...options })
  }
}

/**
 * Fits a node about to be registered to the drain-alls that are open now; `counted` were open when it was made. Those begun
 * since have not seen it, and those ended since have not released it.
 */
export function fitDrainAll(graph: BlockGraph, node: NodeState, counted: number): void {
  for (let depth = counted; depth < graph.drainAllDepth; depth++) beginQuiesce([node])
  for (let depth = counted; depth > graph.drainAllDepth; depth--) endQuiesce([node])
}
