// A graph for tests: virtual time, a controlled disk driver whose requests wait for the test, and every event recorded.

import type { ContextTracker } from '../../src/common/context-tracker.js'
import {
  BLK_PERM_ALL,
  BLK_PERM_CONSISTENT_READ,
  BLK_PERM_RESIZE,
  BLK_PERM_WRITE,
} from '../../src/common/permissions.js'
import type { GraphEventName, GraphEvents } from '../../src/common/trace.js'
import { builtinDrivers } from '../../src/drivers/index.js'
import { type BlockBackend, type CreateBackendOptions, createBackend } from '../../src/global-state/backend.js'
import type { BlockDriver } from '../../src/global-state/driver.js'
import { BlockGraph } from '../../src/global-state/graph.js'
import { closeNode } from '../../src/global-state/life/close.js'
import { openNode } from '../../src/global-state/life/open.js'
import type { MainLoop } from '../../src/global-state/main-loop.js'
import type { NodeState } from '../../src/global-state/node-state.js'
import { overlayDriver } from '../../src/testing/overlay-driver.js'
import { serialiseGraph } from '../../src/testing/serialise-graph.js'
import { Controller, controlledDriver } from '../../src/testing/storage/controlled.js'
import { settleMicrotasks, VirtualClock } from '../../src/testing/virtual-clock.js'

export const READ_WRITE = BLK_PERM_CONSISTENT_READ | BLK_PERM_WRITE | BLK_PERM_RESIZE

export interface WorldOptions {
  drivers?: readonly BlockDriver[]
  tracker?: ContextTracker
  stallAfterMs?: number
}

export class GraphWorld {
  readonly clock = new VirtualClock()
  readonly controller = new Controller()
  readonly graph: BlockGraph
  readonly events: { name: GraphEventName; event: GraphEvents[GraphEventName] }[] = []

  constructor(options: WorldOptions = {}) {
    const drivers = [...builtinDrivers, overlayDriver, controlledDriver(this.controller), ...(options.drivers ?? [])]
    this.graph = new BlockGraph({
      drivers,
      clock: this.clock,
      tracker: options.tracker,
      stallAfterMs: options.stallAfterMs ?? 5000,
    })
    this.graph.trace.listen((name, event) => this.events.push({ name, event }))
  }

  /** Runs `fn` in the main loop. */
  main<T>(fn: (main: MainLoop) => Promise<T>, label = 'test'): Promise<T> {
    return this.graph.mainLoop(fn, label)
  }

  open(options: Record<string, unknown>): Promise<NodeState> {
    return this.main((main) => openNode(main, this.graph, options))
  }

  /** A controlled disk of 64 KiB: its requests wait until the test releases them. */
  disk(name: string, options: Record<string, unknown> = {}): Promise<NodeState> {
    return this.open({ driver: 'controlled', 'node-name': name, size: 65536, ...options })
  }

  /** A memory disk of 64 KiB: its requests are done at once. */
  memory(name: string, options: Record<string, unknown> = {}): Promise<NodeState> {
    return this.open({ driver: 'memory', 'node-name': name, size: 65536, ...options })
  }

  backend(node: NodeState | undefined, options: CreateBackendOptions = {}): Promise<BlockBackend> {
    const all = { perm: READ_WRITE, shared: BLK_PERM_ALL, ...options }
    return this.main((main) => createBackend(main, this.graph, node === undefined ? all : { ...all, node }))
  }

  /** Writes `bytes` bytes of `value` to a node, by a backend of its own. */
  fill(node: NodeState, offset: number, bytes: number, value: number): Promise<void> {
    return this.main(async (main) => {
      const root = await createBackend(main, this.graph, { node, perm: READ_WRITE })
      await root.write(offset, new Uint8Array(bytes).fill(value))
      await root.close(main)
    })
  }

  /** All that a node shows. */
  content(node: NodeState): Promise<Uint8Array> {
    return this.main(async (main) => {
      const root = await createBackend(main, this.graph, { node })
      const bytes = new Uint8Array(root.length)
      await root.read(0, bytes)
      await root.close(main)
      return bytes
    })
  }

  close(node: NodeState): Promise<void> {
    return this.main((main) => closeNode(main, node))
  }

  eventsOf<K extends GraphEventName>(name: K): GraphEvents[K][] {
    return this.events.filter((entry) => entry.name === name).map((entry) => entry.event as GraphEvents[K])
  }

  /** The graph as text, with everything a failed edit has to leave alone. */
  serialise(): string {
    return serialiseGraph(this.graph)
  }

  /** Runs everything that can run without time passing. */
  settle(): Promise<void> {
    return settleMicrotasks()
  }

  /** Every node that is not at rest: a counter, a quiesced edge, a request. Empty where nothing was forgotten. */
  unrest(): string[] {
    const found: string[] = []
    for (const node of this.graph.nodes.values()) {
      const { quiesceCounter, inFlight } = node.state
      if (quiesceCounter !== 0) found.push(`${node.nodeName}: quiesce counter ${quiesceCounter}`)
      if (inFlight !== 0) found.push(`${node.nodeName}: ${inFlight} in flight`)
      for (const edge of node.parents) if (edge.quiesced) found.push(`${node.nodeName}: ${edge.name} quiesced`)
    }
    return found
  }
}

/** The state of a promise after everything that can run has run. */
export async function stateOfPromise(promise: Promise<unknown>): Promise<'pending' | 'fulfilled' | 'rejected'> {
  let state: 'pending' | 'fulfilled' | 'rejected' = 'pending'
  promise.then(
    () => {
      state = 'fulfilled'
    },
    () => {
      state = 'rejected'
    },
  )
  await settleMicrotasks()
  return state
}
