// What holds between the graph and its model: the same structure, the same permissions, the same data, and every step of a driver
// ended (invariants 4, 8, 17 to 19, 25, 26, 31, 32).

import { findDirtyBitmap } from '../../global-state/bitmaps/bitmaps.js'
import type { NodeState } from '../../global-state/node-state.js'
import {
  type Invariant,
  must,
  permissionInvariants,
  quiesceInvariants,
  requestInvariants,
  structureInvariants,
} from '../invariants/index.js'
import { edgeKey, modelPermissions, rootKey } from './model-permissions.js'
import { peek } from './requests.js'
import type { ModelWorld } from './world.js'

/** 4, 19, 24: nodes, links, holds, frozen links, flags and media are those of the model. */
const sameStructure: Invariant<ModelWorld> = {
  id: '4, 19 (structure as in the model)',
  at: 'step',
  check({ editing, graph, model }) {
    if (editing) return
    must(
      [...graph.nodes.keys()].sort().join() === [...model.nodes.keys()].sort().join(),
      `nodes ${[...graph.nodes.keys()]}, in the model ${[...model.nodes.keys()]}`,
    )
    for (const node of model.nodes.values()) {
      const real = graph.node(node.name)
      must(real.holds === node.holds, `${node.name} is held ${real.holds} times, in the model ${node.holds}`)
      must(
        real.readOnly === node.readOnly,
        `${node.name} is ${real.readOnly ? '' : 'not '}read-only, unlike in the model`,
      )
      must(
        real.inactive === node.inactive,
        `${node.name} is ${real.inactive ? '' : 'not '}inactive, unlike in the model`,
      )
      must(
        linksOf(real) === node.children.map(({ name, to, frozen }) => `${name}:${to}:${frozen}`).join(),
        `${node.name} has the links ${linksOf(real)}`,
      )
    }
    for (const backend of graph.backends) {
      const known = model.backends.get(backend.name ?? '')
      must(
        known !== undefined && known.node === backend.node?.nodeName,
        `backend ${backend.name} shows ${backend.node?.nodeName}, in the model ${known?.node}`,
      )
    }
    must(graph.backends.size === model.backends.size, 'a backend too many')
  },
}

function linksOf(node: NodeState): string {
  return node.children.map((edge) => `${edge.name}:${edge.node.nodeName}:${edge.frozen}`).join()
}

/** 8: every edge has the permissions that the model computes from nothing. */
const samePermissions: Invariant<ModelWorld> = {
  id: '8 (permissions as in the model)',
  at: 'step',
  check({ editing, graph, model }) {
    if (editing) return
    const { edges, faults } = modelPermissions(model)
    must(faults.length === 0, `the model finds ${faults.join('; ')}`)
    for (const node of graph.nodes.values()) {
      for (const edge of node.parents) {
        const parent = edge.parentNode
        const backend = [...graph.backends].find(({ root }) => root === edge.parent)
        const key = parent === undefined ? rootKey(backend?.name ?? '') : edgeKey(parent.nodeName, edge.name)
        const expected = edges.get(key)
        must(
          expected?.perm === edge.perm && expected?.shared === edge.shared,
          `${key} has ${edge.perm}/${edge.shared}, in the model ${expected?.perm}/${expected?.shared}`,
        )
      }
    }
  },
}

/** 18: every prepared step of a driver is committed or aborted once. */
const stepsEnded: Invariant<ModelWorld> = {
  id: '18 (steps of drivers ended once)',
  at: 'step',
  check({ editing, log }) {
    must(log.faults.length === 0, log.faults.join('; '))
    if (!editing) must(log.open.size === 0, `${[...log.open].join()} neither committed nor aborted`)
  },
}

/** 25: a bitmap counts what is set in it, and has all that was surely written. */
const bitmapsRecord: Invariant<ModelWorld> = {
  id: '25 (bitmaps record)',
  at: 'rest',
  check({ graph, model }) {
    for (const node of graph.nodes.values()) {
      for (const { bits, name } of node.state.bitmaps) {
        let count = 0
        for (const run of bits.runs()) count += run.bytes
        must(count === bits.count, `${name} of ${node.nodeName} counts ${bits.count} dirty bytes, has ${count}`)
      }
      for (const [name, { dirty }] of model.bitmaps.get(node.nodeName) ?? []) {
        const bitmap = findDirtyBitmap(node, name)
        for (const sector of dirty)
          must(bitmap?.bits.get(sector * 512) === true, `${name} of ${node.nodeName} misses sector ${sector}`)
      }
    }
  },
}

/** 26: every layer holds what was written to it, and nothing else. */
const sameData: Invariant<ModelWorld> = {
  id: '26 (data as in the model)',
  at: 'rest',
  check({ graph, model, requests }) {
    const busy = new Set([...requests].map((request) => request.sector))
    for (const [name, layer] of model.layers) {
      const node = graph.nodes.get(name)
      if (node === undefined) continue
      for (let sector = 0; sector < 8; sector++) {
        const found = busy.has(sector) ? layer[sector] : peek(node, sector)
        must(found === layer[sector], `sector ${sector} of ${name} holds ${found}, expected ${layer[sector]}`)
      }
    }
  },
}

/** 31 and 32: what was submitted has settled once, runs, or is held. */
const requestsSettle: Invariant<ModelWorld> = {
  id: '31, 32 (requests settle once)',
  at: 'step',
  check({ submitted, finished, requests, faults }) {
    must(
      submitted === finished + requests.size,
      `${submitted} submitted, ${finished} settled, ${requests.size} under way`,
    )
    must(faults.length === 0, faults.join('\n'))
  },
}

/** All that is checked in a model run. */
export const modelInvariants: readonly Invariant<ModelWorld>[] = [
  requestsSettle,
  ...structureInvariants,
  ...permissionInvariants,
  ...quiesceInvariants,
  ...requestInvariants,
  sameStructure,
  samePermissions,
  stepsEnded,
  bitmapsRecord,
  sameData,
]
