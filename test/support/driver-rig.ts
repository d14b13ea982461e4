// A node opened through a real graph, with a backend on it, for tests of one driver.

import type { Clock } from '../../src/common/clock.js'
import type { HostServices } from '../../src/common/host-services.js'
import { BLK_PERM_ALL, type Permissions } from '../../src/common/permissions.js'
import { builtinDrivers } from '../../src/drivers/index.js'
import { type BlockBackend, createBackend } from '../../src/global-state/backend.js'
import type { BlockDriver } from '../../src/global-state/driver.js'
import { BlockGraph } from '../../src/global-state/graph.js'
import { closeNode } from '../../src/global-state/life/close.js'
import { openNode } from '../../src/global-state/life/open.js'
import type { OpenSettings } from '../../src/global-state/life/open-request.js'
import type { NodeState } from '../../src/global-state/node-state.js'

export { codeOf } from './code-of.js'

export interface RigOptions {
  drivers?: readonly BlockDriver[]
  clock?: Clock
  services?: HostServices
  secrets?: Readonly<Record<string, Uint8Array>>
  perm?: Permissions
  settings?: OpenSettings
}

export interface Rig {
  graph: BlockGraph
  node: NodeState
  backend: BlockBackend
  /** Closes backend and node; says how many nodes are left. */
  close(): Promise<number>
}

/** Opens `options` in a graph of its own, with discard enabled, and a backend that may do everything. */
export async function openRig(options: Record<string, unknown>, rig: RigOptions = {}): Promise<Rig> {
  const graph = new BlockGraph({
    drivers: [...builtinDrivers, ...(rig.drivers ?? [])],
    ...(rig.clock === undefined ? {} : { clock: rig.clock }),
    ...(rig.services === undefined ? {} : { services: rig.services }),
  })
  for (const [id, data] of Object.entries(rig.secrets ?? {})) graph.secrets.define(id, data)
  return await openIn(graph, options, rig)
}

/** The same in a graph that exists. */
export async function openIn(graph: BlockGraph, options: Record<string, unknown>, rig: RigOptions = {}): Promise<Rig> {
  const { node, backend } = await graph.mainLoop(async (main) => {
    const opened = await openNode(main, graph, { discard: 'unmap', ...options }, rig.settings)
    const perm = rig.perm ?? BLK_PERM_ALL
    return { node: opened, backend: await createBackend(main, graph, { perm, shared: BLK_PERM_ALL, node: opened }) }
  })
  return {
    graph,
    node,
    backend,
    close: async () => {
      await graph.mainLoop(async (main) => {
        await backend.close(main)
        await closeNode(main, node)
      })
      return graph.nodes.size
    },
  }
}
