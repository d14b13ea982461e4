// Snapshots inside an image. A node whose driver has none hands on to the child whose data it shows, where it keeps no
// metadata of its own about it.

import { assert } from '../common/assert.js'
import type { SnapshotInfo } from '../common/block-info.js'
import { BDRV_CHILD_DATA, BDRV_CHILD_FILTERED, BDRV_CHILD_METADATA, BDRV_CHILD_PRIMARY } from '../common/child-role.js'
import { BlockError, quoteOutside } from '../common/error.js'
import type { BlockOpType } from '../common/op-types.js'
import { type DrainedSection, drained } from '../io/drained.js'
import { nodeError } from '../io/node-error.js'
import { refreshLength } from '../io/truncate.js'
import type { NewSnapshot, SnapshotSupport } from './driver.js'
import type { MainLoop } from './main-loop.js'
import type { NodeState } from './node-state.js'
import { refuseBlockedOp } from './op-blockers.js'

/** Names a snapshot: a text is an id or else a name; of an object, all that is given has to be true. */
export type SnapshotName = string | { readonly id?: string; readonly name?: string }

/** Whether the image behind `node` can hold snapshots. */
export function canSnapshot(node: NodeState): boolean {
  return findSupport(node) !== undefined
}

/** The snapshots of the image behind `node`, in its order. ENOTSUP where it can hold none. */
export function listSnapshots(node: NodeState): readonly SnapshotInfo[] {
  const { target, support } = requireSupport(node, 'snapshot')
  return support.list(target.driverState)
}

/** The first snapshot that `wanted` names. */
export function findSnapshot(node: NodeState, wanted: SnapshotName): SnapshotInfo | undefined {
  const snapshots = listSnapshots(node)
  return snapshots[indexOf(snapshots, wanted)]
}

/**
 * Takes a snapshot of the disk as it is. `quiet` covers `node`. ENOTSUP where the image can hold none, EACCES for a
 * read-only node, EBUSY where the operation is blocked, and what the driver says.
 */
export function createSnapshot(
  main: MainLoop,
  quiet: DrainedSection,
  node: NodeState,
  snapshot: NewSnapshot,
): Promise<void> {
  return onImage(main, quiet, node, 'createSnapshot', async ({ target, support }) => {
    refuseReadOnly(target, 'createSnapshot')
    refuseBlocked(node, target, 'internal-snapshot')
    await support.create(target.driverState, snapshot)
  })
}

/**
 * Makes the disk what it was when the snapshot was taken; its length may change. `quiet` covers `node`. ENOENT where there is
 * no such snapshot, EBUSY while the disk has dirty bitmaps or the operation is blocked, EACCES and ENOTSUP as for
 * {@link createSnapshot}.
 */
export function applySnapshot(
  main: MainLoop,
  quiet: DrainedSection,
  node: NodeState,
  wanted: SnapshotName,
): Promise<void> {
  return onImage(main, quiet, node, 'applySnapshot', async ({ target, support }) => {
    for (const layer of layersDownTo(node, target)) refuseBitmaps(layer)
    refuseReadOnly(target, 'applySnapshot')
    refuseBlocked(node, target, 'internal-snapshot')
    const index = requireIndex(target, support, wanted, 'applySnapshot')
    target.state.writeGeneration++
    try {
      await support.apply(target.driverState, index)
    } finally {
      await refreshLength(target)
    }
  })
}

/** Removes a snapshot. `quiet` covers `node`. ENOENT, EACCES, EBUSY and ENOTSUP as for {@link applySnapshot}. */
export function deleteSnapshot(
  main: MainLoop,
  quiet: DrainedSection,
  node: NodeState,
  wanted: SnapshotName,
): Promise<void> {
  return onImage(main, quiet, node, 'deleteSnapshot', async ({ target, support }) => {
    refuseReadOnly(target, 'deleteSnapshot')
    refuseBlocked(node, target, 'internal-snapshot-delete')
    await support.delete(target.driverState, requireIndex(target, support, wanted, 'deleteSnapshot'))
  })
}

/**
 * Shows a snapshot in place of the disk, until the node is closed. The length stays. `quiet` covers `node`. EINVAL for a writable
 * node, ENOENT and ENOTSUP as for {@link applySnapshot}.
 */
export function loadSnapshot(
  main: MainLoop,
  quiet: DrainedSection,
  node: NodeState,
  wanted: SnapshotName,
): Promise<void> {
  return onImage(main, quiet, node, 'loadSnapshot', async ({ target, support }) => {
    if (!target.readOnly) {
      throw new BlockError('EINVAL', 'Device is not readonly', { node: target.nodeName, op: 'loadSnapshot' })
    }
    await support.load(target.driverState, requireIndex(target, support, wanted, 'loadSnapshot'))
  })
}

interface Image {
  target: NodeState
  support: SnapshotSupport<unknown>
}

function onImage(
  main: MainLoop,
  quiet: DrainedSection,
  node: NodeState,
  op: string,
  act: (image: Image) => Promise<void>,
): Promise<void> {
  return main.call(op, node.environment, async (call) => {
    assert(quiet.covers(node), `${op}: the drained section does not cover node '${node.nodeName}'`)
    const image = requireSupport(node, op)
    image.support.refuse?.(image.target.driverState)
    // The node below may have other users, which `quiet` does not stop.
    const section = await drained(image.target)
    try {
      call.resumed()
      await act(image)
    } catch (thrown) {
      throw nodeError(thrown, image.target, op)
    } finally {
      section.end()
    }
  })
}

function findSupport(node: NodeState): Image | undefined {
  for (let target: NodeState | undefined = node; target !== undefined; target = delegate(target)) {
    const { snapshots } = target.definition
    if (snapshots !== undefined) return { target, support: snapshots }
  }
  return undefined
}

function requireSupport(node: NodeState, op: string): Image {
  const image = findSupport(node)
  if (image !== undefined) return image
  throw new BlockError('ENOTSUP', `driver '${node.driver.name}' does not support snapshots`, {
    node: node.nodeName,
    op,
  })
}

/** The only child that holds what the node shows. What stands in more than one would be taken back in one of them only. */
function delegate(node: NodeState): NodeState | undefined {
  const own = BDRV_CHILD_DATA | BDRV_CHILD_METADATA | BDRV_CHILD_FILTERED
  const [first, ...others] = node.children.filter((edge) => (edge.role & own) !== 0)
  if (first === undefined || others.length > 0) return undefined
  // Metadata that the node has in memory would no longer be that of the file.
  const plain = (first.role & BDRV_CHILD_PRIMARY) !== 0 && (first.role & BDRV_CHILD_METADATA) === 0
  return plain ? first.node : undefined
}

function layersDownTo(node: NodeState, target: NodeState): NodeState[] {
  const layers: NodeState[] = []
  for (let at: NodeState | undefined = node; at !== undefined; at = at === target ? undefined : delegate(at)) {
    layers.push(at)
  }
  return layers
}

function requireIndex(node: NodeState, support: SnapshotSupport<unknown>, wanted: SnapshotName, op: string): number {
  const index = indexOf(support.list(node.driverState), wanted)
  if (index >= 0) return index
  const words = typeof wanted === 'string' ? wanted : (wanted.name ?? wanted.id ?? '')
  throw new BlockError('ENOENT', `there is no snapshot ${quoteOutside(words)}`, { node: node.nodeName, op })
}

function indexOf(snapshots: readonly SnapshotInfo[], wanted: SnapshotName): number {
  if (typeof wanted === 'string') {
    const byId = snapshots.findIndex((snapshot) => snapshot.id === wanted)
    return byId >= 0 ? byId : snapshots.findIndex((snapshot) => snapshot.name === wanted)
  }
  const { id, name } = wanted
  assert(id !== undefined || name !== undefined, 'a snapshot is named by its id, its name or both')
  return snapshots.findIndex(
    (snapshot) => (id === undefined || snapshot.id === id) && (name === undefined || snapshot.name === name),
  )
}

function refuseBitmaps(node: NodeState): void {
  if (node.state.bitmaps.length === 0) return
  throw new BlockError('EBUSY', 'Device has active dirty bitmaps', { node: node.nodeName, op: 'applySnapshot' })
}

function refuseReadOnly(node: NodeState, op: string): void {
  const details = { node: node.nodeName, op }
  if (node.readOnly) throw new BlockError('EACCES', 'the node is read-only', details)
  if (node.inactive) throw new BlockError('EPERM', 'the node is inactive: another process owns the image', details)
}

function refuseBlocked(node: NodeState, target: NodeState, op: BlockOpType): void {
  for (const layer of layersDownTo(node, target)) refuseBlockedOp(layer, op)
}
