// Edits of the model test: for each command what it is to do to the real graph, and what should come of it. Numbers are resolved
// here, inside the main-loop section, where model and graph agree.

import { BLK_PERM_WRITE, BLK_PERM_WRITE_UNCHANGED } from '../../common/permissions.js'
import { freezeBackingChain, unfreezeBackingChain } from '../../global-state/backing-chain.js'
import { drainAll } from '../../global-state/drain-all.js'
import { appendNode, dropFilter, insertNode, replaceNode, setBacking } from '../../global-state/edit/graph-edit.js'
import { activateAll, inactivateAll } from '../../global-state/life/activation.js'
import { closeNode } from '../../global-state/life/close.js'
import { reopenNodes } from '../../global-state/life/reopen.js'
import type { MainLoop } from '../../global-state/main-loop.js'
import { drainedNodes } from '../../io/drained.js'
import type { EditCommand } from './command.js'
import type { GraphModel, ModelNode } from './graph-model.js'
import { modelPermissions } from './model-permissions.js'
import {
  foresee,
  foreseeAppend,
  foreseeClose,
  foreseeDrop,
  foreseeReopen,
  foreseeReplace,
  foreseeSetBacking,
  moveParents,
  type Outcome,
} from './oracle.js'
import type { ModelWorld } from './world.js'

/** An edit about to be made. `done` is to be called at once when the graph has changed, before anything is released. */
export interface Attempt {
  what: string
  outcome: Outcome
  act(main: MainLoop, done: () => void): Promise<void>
  /** It may fail with an injected error after the change was made, as a flush at close does. */
  late?: boolean
  /** It may fail with one before: nothing has changed then. */
  early?: boolean
}

/** The edit that `command` stands for now; undefined where there is nothing to do it to. */
export function attemptOf(world: ModelWorld, command: EditCommand): Attempt | undefined {
  const { model, graph } = world
  switch (command.type) {
    case 'close': {
      const unused = ({ name }: ModelNode) => model.parentsOf(name).length + model.rootsOf(name).length === 0
      return onNode(world.pickNode(command.node, unused), (name) => ({
        what: `close ${name}`,
        outcome: foreseeClose(model, name),
        act: (main) => closeNode(main, world.node(name)),
        late: true,
      }))
    }
    case 'insert-filter':
      return onNode(world.pickNode(command.node), (name) => insertAttempt(world, name, command.taken))
    case 'freeze':
      return onNode(world.pickNode(command.top, hasBacking), (top) => freezeAttempt(world, top, command.depth))
    case 'unfreeze':
      return unfreezeAttempt(world, command.freeze)
    case 'reopen':
      return reopenAttempt(world, command)
    case 'activate':
      return activateAttempt(world, command.active)
    case 'drain-all':
      return {
        what: 'drain all',
        outcome: foresee(model, () => {}),
        async act(main) {
          const open = { nodes: undefined, section: await drainAll(main, graph) }
          world.sections.push(open)
        },
      }
    default:
      return rewireAttempt(world, command)
  }
}

/** Edits that move links between nodes that exist. */
function rewireAttempt(world: ModelWorld, command: EditCommand): Attempt | undefined {
  const { model } = world
  switch (command.type) {
    case 'drop-filter': {
      const fits = (node: ModelNode) => node.driver === 'throttle' || hasBacking(node)
      return onNode(world.pickNode(command.node, fits), (name) => ({
        what: `drop ${name}`,
        outcome: foreseeDrop(model, name),
        act: (main, done) =>
          quietly(world, [name, model.chainEdge(name)?.to], done, (quiet) => dropFilter(main, quiet, world.node(name))),
        late: true,
      }))
    }
    case 'append': {
      const fits = (node: ModelNode) => node.driver === 'overlay' && !hasBacking(node)
      return onTwo(world.pickNode(command.overlay, fits), world.pickNode(command.top), (overlay, top) => ({
        what: `append ${overlay} to ${top}`,
        outcome: foreseeAppend(model, overlay, top),
        act: (main, done) =>
          quietly(world, [overlay, top], done, (quiet) =>
            appendNode(main, quiet, world.node(overlay), world.node(top)),
          ),
      }))
    }
    case 'replace':
      return onTwo(world.pickNode(command.from), world.pickNode(command.to), (from, to) => ({
        what: `replace ${from} by ${to}`,
        outcome: foreseeReplace(model, from, to),
        act: (main, done) =>
          quietly(world, [from, to], done, (quiet) => replaceNode(main, quiet, world.node(from), world.node(to))),
        late: true,
      }))
    case 'set-backing': {
      const fits = ({ driver }: ModelNode) => driver === 'overlay'
      return onTwo(world.pickNode(command.node, fits), world.pickNode(command.backing), (name, other) => {
        const backing = command.none ? undefined : other
        const old = model.node(name).children[0]?.to
        const node = () => (backing === undefined ? undefined : world.node(backing))
        return {
          what: `set the backing of ${name} to ${backing ?? 'none'}`,
          outcome: foreseeSetBacking(model, name, backing),
          act: (main, done) =>
            quietly(world, [name, old, backing], done, (quiet) => setBacking(main, quiet, world.node(name), node())),
          late: true,
        }
      })
    }
    default:
      return undefined
  }
}

function hasBacking({ driver, children }: ModelNode): boolean {
  return driver === 'overlay' && children.length > 0
}

function insertAttempt(world: ModelWorld, name: string, taken: boolean): Attempt {
  const { model } = world
  const filter = taken ? name : `n${++world.nextId}`
  const outcome = foresee(model, (after, refuse) => {
    if (taken) return refuse('EEXIST')
    after.nodes.set(filter, {
      name: filter,
      driver: 'throttle',
      readOnly: false,
      explicitReadOnly: undefined,
      owner: undefined,
      inactive: false,
      forceShare: false,
      children: [{ name: 'file', to: name, frozen: false }],
      holds: 1,
    })
    moveParents(after, name, filter, refuse)
  })
  return {
    what: `insert ${filter} above ${name}`,
    outcome,
    act: (main, done) =>
      quietly(world, [name], done, async (quiet) => {
        const node = await insertNode(main, quiet, world.node(name), {
          driver: 'throttle',
          'node-name': filter,
          discard: 'unmap',
        })
        world.everNodes.set(filter, node)
      }),
  }
}

function freezeAttempt(world: ModelWorld, top: string, depth: number): Attempt | undefined {
  const chain = world.model.chain(top)
  const base = chain[Math.min(depth, chain.length - 1)]
  if (base === undefined || base === top) return undefined
  const links = chain.slice(0, chain.indexOf(base))
  return {
    what: `freeze ${top} to ${base}`,
    outcome: foresee(world.model, (after, refuse) => {
      for (const name of links) {
        const edge = after.chainEdge(name)
        if (edge === undefined) continue
        if (edge.frozen) refuse('EPERM')
        edge.frozen = true
      }
      after.freezes.push({ top, base })
    }),
    act: async (main) => freezeBackingChain(main, world.node(top), world.node(base)),
  }
}

function unfreezeAttempt(world: ModelWorld, index: number): Attempt | undefined {
  const { model } = world
  const freeze = model.freezes[index % Math.max(model.freezes.length, 1)]
  if (freeze === undefined) return undefined
  return {
    what: `unfreeze ${freeze.top} to ${freeze.base}`,
    outcome: foresee(model, (after) => {
      const chain = after.chain(freeze.top)
      for (const name of chain.slice(0, chain.indexOf(freeze.base))) {
        const edge = after.chainEdge(name)
        if (edge !== undefined) edge.frozen = false
      }
      after.freezes = after.freezes.filter((other) => other !== freeze)
    }),
    act: async (main) => unfreezeBackingChain(main, world.node(freeze.top), world.node(freeze.base)),
  }
}

function reopenAttempt(world: ModelWorld, command: Extract<EditCommand, { type: 'reopen' }>): Attempt | undefined {
  const { model } = world
  const all = [...model.nodes.keys()]
  const names = [...new Set(command.nodes.map((index) => all[index % Math.max(all.length, 1)]))].filter(
    (name) => name !== undefined,
  )
  const last = names.at(-1)
  if (last === undefined) return undefined
  return {
    what: `reopen ${names.join()} ${command.readOnly ? 'read-only' : 'read-write'}`,
    outcome: foreseeReopen(model, names, command.readOnly),
    act: (main, done) => {
      if (command.veto === 'reopen') world.log.vetoReopen.add(last)
      if (command.veto === 'permissions') world.log.vetoPermissions.add(last)
      return quietly(world, names, done, (quiet) =>
        reopenNodes(
          main,
          quiet,
          names.map((name) => ({ node: world.node(name), options: { 'read-only': command.readOnly }, keepOld: true })),
        ),
      )
    },
    early: true,
  }
}

function activateAttempt(world: ModelWorld, active: boolean): Attempt {
  const { model, graph } = world
  return {
    what: active ? 'activate all' : 'inactivate all',
    outcome: foresee(model, (after, refuse) => {
      if (!active && hasWriters(model)) refuse('EPERM')
      for (const node of after.nodes.values()) node.inactive = !active
    }),
    act: (main) => {
      // A veto in the middle would leave a part active, which is allowed, but not foreseen here.
      if (active) world.log.vetoPermissions.clear()
      return active ? activateAll(main, graph) : inactivateAll(main, graph)
    },
    early: true,
  }
}

/** Whether a node that is active is written by anybody. */
function hasWriters(model: GraphModel): boolean {
  const { edges } = modelPermissions(model)
  const writes = (key: string) => ((edges.get(key)?.perm ?? 0) & (BLK_PERM_WRITE | BLK_PERM_WRITE_UNCHANGED)) !== 0
  const active = [...model.nodes.values()].filter((node) => !node.inactive)
  return active.some(
    ({ name }) =>
      model.rootsOf(name).some((root) => writes(`backend ${root.name}`)) ||
      model.parentsOf(name).some(({ parent, edge }) => writes(`${parent.name}/${edge.name}`)),
  )
}

/** Runs `act` in a drained section of the named nodes, and tells the model before the section ends. */
async function quietly(
  world: ModelWorld,
  names: readonly (string | undefined)[],
  done: () => void,
  act: (quiet: Awaited<ReturnType<typeof drainedNodes>>) => Promise<unknown>,
): Promise<void> {
  const present = names.filter((name) => name !== undefined && world.model.nodes.has(name)) as string[]
  const quiet = await drainedNodes(present.map((name) => world.node(name)))
  try {
    await act(quiet)
    done()
  } finally {
    quiet.end()
  }
}

function onNode(name: string | undefined, make: (name: string) => Attempt | undefined): Attempt | undefined {
  return name === undefined ? undefined : make(name)
}

function onTwo(
  a: string | undefined,
  b: string | undefined,
  make: (a: string, b: string) => Attempt,
): Attempt | undefined {
  return a === undefined || b === undefined ? undefined : make(a, b)
}
