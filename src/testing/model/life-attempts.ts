// Edits of the model test that make and end things: nodes, backends, bitmaps.

import type { ErrnoName } from '../../common/errno.js'
import { createBackend } from '../../global-state/backend.js'
import { mergeDirtyBitmap } from '../../global-state/bitmaps/bitmap-content.js'
import { createDirtyBitmap, findDirtyBitmap, releaseDirtyBitmap } from '../../global-state/bitmaps/bitmaps.js'
import { openNode } from '../../global-state/life/open.js'
import type { Attempt } from './attempts.js'
import type { EditCommand } from './command.js'
import { MODEL_SECTORS, type ModelEdge, type ModelNode } from './graph-model.js'
import { foresee } from './oracle.js'
import type { ModelWorld } from './world.js'

const MAX_NODES = 8
const MAX_BACKENDS = 4
const SIZE = MODEL_SECTORS * 512

/** As `attemptOf`, for the other half of the commands. */
export function lifeAttemptOf(world: ModelWorld, command: EditCommand): Attempt | undefined {
  const { model } = world
  const node = world.pickNode.bind(world)
  const backend = (index: number): string | undefined =>
    [...model.backends.keys()][index % Math.max(model.backends.size, 1)]
  switch (command.type) {
    case 'open':
      return openAttempt(world, command)
    case 'add-backend':
      return addBackendAttempt(world, command, node(command.node))
    case 'remove-backend':
    case 'eject':
      return ejectAttempt(world, backend(command.backend), command.type === 'remove-backend')
    case 'insert':
      return insertAttempt(
        world,
        command.backend % 4 === 0 ? backend(command.backend) : emptyBackend(world),
        node(command.node),
      )
    case 'set-permissions':
      return permissionsAttempt(world, backend(command.backend), command.perm, command.shared)
    case 'add-bitmap':
    case 'remove-bitmap':
    case 'merge-bitmap':
      return bitmapAttempt(
        world,
        command,
        node(command.node, ({ name }) => (model.bitmaps.get(name)?.size ?? 0) > 0),
      )
    default:
      return undefined
  }
}

/** A backend without a medium, if there is one. */
function emptyBackend(world: ModelWorld): string | undefined {
  return [...world.model.backends.values()].find((backend) => backend.node === undefined)?.name
}

function openAttempt(world: ModelWorld, command: Extract<EditCommand, { type: 'open' }>): Attempt | undefined {
  const { model, graph } = world
  const { driver, mistake, readOnly, forceShare } = command
  if (model.nodes.size >= MAX_NODES - 1) return undefined
  const names = [...model.nodes.keys()]
  const [taken] = names
  const name = mistake === 'taken-name' && taken !== undefined ? taken : `n${++world.nextId}`
  const wantsChild = driver !== 'staged' && (driver !== 'overlay' || command.child % 2 === 0)
  const inline = wantsChild && command.inline
  const child = wantsChild && !inline ? names[command.child % Math.max(names.length, 1)] : undefined
  if (wantsChild && !inline && child === undefined) return undefined
  const key = driver === 'overlay' ? 'backing' : 'file'
  const options: Record<string, unknown> = { driver, 'node-name': name, discard: 'unmap' }
  if (readOnly) options['read-only'] = true
  if (driver === 'staged' || (driver === 'overlay' && !wantsChild)) options.size = SIZE
  if (driver === 'overlay') options['cluster-size'] = 512
  if (driver === 'throttle' && command.limited) options['limits.iops-total'] = 100
  if (forceShare) options['force-share'] = true
  const below = `n${name.slice(1)}f`
  if (inline) options[key] = { driver: 'staged', 'node-name': below, size: SIZE, discard: 'unmap' }
  if (child !== undefined) options[key] = mistake === 'missing-child' ? 'nobody' : child
  if (mistake === 'unknown-option') options['no-such-option'] = 1
  if (mistake === 'unknown-driver') options.driver = 'no-such-driver'
  if (mistake === 'wrong-type') options['read-only'] = 'perhaps'
  const codes = mistakes(command, name === taken, child !== undefined)
  const outcome = foresee(model, (after, refuse) => {
    for (const code of codes) refuse(code)
    const children: ModelEdge[] = []
    const target = inline ? below : child
    if (target !== undefined) children.push({ name: key, to: target, frozen: false })
    after.nodes.set(name, modelNode(name, driver, readOnly, forceShare, children))
    if (inline) {
      // A backing file is read-only unless it says otherwise; other children are as their parent.
      const inherited = {
        ...modelNode(below, 'staged', driver === 'overlay' || readOnly, forceShare, []),
        holds: 0,
        owner: name,
      }
      after.nodes.set(below, { ...inherited, explicitReadOnly: undefined })
    }
  })
  return {
    what: `open ${JSON.stringify(options)}`,
    outcome,
    async act(main, done) {
      const node = await openNode(main, graph, options)
      world.everNodes.set(name, node)
      world.model.layers.set(name, driver === 'staged' ? Array(MODEL_SECTORS).fill(0) : driver === 'overlay' ? [] : [])
      if (driver !== 'staged' && driver !== 'overlay') world.model.layers.delete(name)
      if (inline) {
        world.everNodes.set(below, graph.node(below))
        world.model.layers.set(below, Array(MODEL_SECTORS).fill(0))
      }
      done()
    },
  }
}

function mistakes(command: Extract<EditCommand, { type: 'open' }>, taken: boolean, hasReference: boolean): ErrnoName[] {
  const codes: ErrnoName[] = []
  if (taken) codes.push('EEXIST')
  if (command.mistake === 'missing-child' && hasReference) codes.push('ENODEV')
  if (command.mistake === 'unknown-option' || command.mistake === 'unknown-driver' || command.mistake === 'wrong-type')
    codes.push('EINVAL')
  if (command.forceShare && !command.readOnly) codes.push('EINVAL')
  return codes
}

function modelNode(
  name: string,
  driver: ModelNode['driver'],
  readOnly: boolean,
  forceShare: boolean,
  children: ModelEdge[],
): ModelNode {
  const explicitReadOnly = readOnly ? true : undefined
  return { name, driver, readOnly, explicitReadOnly, owner: undefined, inactive: false, forceShare, children, holds: 1 }
}

function addBackendAttempt(
  world: ModelWorld,
  command: Extract<EditCommand, { type: 'add-backend' }>,
  node: string | undefined,
): Attempt | undefined {
  const { model, graph } = world
  if (model.backends.size >= MAX_BACKENDS) return undefined
  const name = `b${++world.nextId}`
  const medium = command.empty ? undefined : node
  const { perm, shared } = command
  return {
    what: `add backend ${name} at ${medium ?? 'nothing'} with ${perm}/${shared}`,
    outcome: foresee(model, (after) => {
      after.backends.set(name, { name, perm, shared, node: medium })
    }),
    async act(main, done) {
      const options = { name, perm, shared, ...(medium === undefined ? {} : { node: world.node(medium) }) }
      world.backends.set(name, await createBackend(main, graph, options))
      done()
    },
  }
}

function ejectAttempt(world: ModelWorld, name: string | undefined, whole: boolean): Attempt | undefined {
  const backend = name === undefined ? undefined : world.backends.get(name)
  if (name === undefined || backend === undefined) return undefined
  return {
    what: `${whole ? 'remove' : 'eject'} ${name}`,
    outcome: foresee(world.model, (after) => {
      const medium = after.backends.get(name)?.node
      if (whole) after.backends.delete(name)
      else after.backends.set(name, { name, ...backend.permissions, node: undefined })
      if (medium !== undefined) after.release(medium)
    }),
    async act(main) {
      world.losing.add(name)
      for (const request of world.requests)
        if (request.backend === name) request.errors.add(whole ? 'ECANCELED' : 'ENOMEDIUM')
      if (whole) world.backends.delete(name)
      try {
        await (whole ? backend.close(main) : backend.remove(main))
      } finally {
        world.losing.delete(name)
      }
    },
    late: true,
  }
}

function insertAttempt(world: ModelWorld, name: string | undefined, node: string | undefined): Attempt | undefined {
  const backend = name === undefined ? undefined : world.backends.get(name)
  if (name === undefined || backend === undefined || node === undefined) return undefined
  return {
    what: `insert ${node} into ${name}`,
    outcome: foresee(world.model, (after, refuse) => {
      const root = after.backends.get(name)
      if (root === undefined || root.node !== undefined) return refuse('EBUSY')
      root.node = node
    }),
    act: (main) => backend.insert(main, world.node(node)),
  }
}

function permissionsAttempt(
  world: ModelWorld,
  name: string | undefined,
  perm: number,
  shared: number,
): Attempt | undefined {
  const backend = name === undefined ? undefined : world.backends.get(name)
  if (name === undefined || backend === undefined) return undefined
  return {
    what: `set permissions of ${name} to ${perm}/${shared}`,
    outcome: foresee(world.model, (after) => {
      const root = after.backends.get(name)
      if (root !== undefined) Object.assign(root, { perm, shared })
    }),
    act: (main) => backend.setPermissions(main, perm, shared),
  }
}

type BitmapCommand = Extract<EditCommand, { type: 'add-bitmap' | 'remove-bitmap' | 'merge-bitmap' }>

function bitmapAttempt(world: ModelWorld, command: BitmapCommand, name: string | undefined): Attempt | undefined {
  if (name === undefined) return undefined
  const { model } = world
  const bitmaps = model.bitmaps.get(name) ?? new Map()
  const called = `bitmap${command.name % 2}`
  const node = world.node(name)
  const real = findDirtyBitmap(node, called)
  if (command.type === 'add-bitmap') {
    return {
      what: `add ${called} to ${name}`,
      outcome: foresee(model, (_after, refuse) => {
        if (bitmaps.has(called)) refuse('EEXIST')
      }),
      async act(main) {
        await createDirtyBitmap(main, node, { name: called, granularity: 512 })
        model.bitmaps.set(name, bitmaps.set(called, { dirty: new Set(), since: world.steps }))
      },
    }
  }
  if (real === undefined) return undefined
  if (command.type === 'remove-bitmap') {
    return {
      what: `remove ${called} of ${name}`,
      outcome: foresee(model, () => {}),
      async act(main) {
        releaseDirtyBitmap(main, node, real)
        bitmaps.delete(called)
      },
    }
  }
  const other = [...model.bitmaps]
    .filter(([at]) => model.nodes.has(at))
    .flatMap(([at, known]) => [...known.keys()].map((each) => ({ at, each })))
  const source = other[command.from % Math.max(other.length, 1)]
  const from = source === undefined ? undefined : findDirtyBitmap(world.node(source.at), source.each)
  if (source === undefined || from === undefined) return undefined
  return {
    what: `merge ${source.each} of ${source.at} into ${called} of ${name}`,
    outcome: foresee(model, (_after, refuse) => {
      if (from.bits.length !== real.bits.length) refuse('EINVAL')
    }),
    async act(main) {
      mergeDirtyBitmap(main, node, real, [{ node: world.node(source.at), bitmap: from }])
      for (const sector of model.bitmaps.get(source.at)?.get(source.each)?.dirty ?? [])
        bitmaps.get(called)?.dirty.add(sector)
    },
  }
}
