// Snapshots as global state sees them: who is asked, what is refused, and what an applied one changes.

import { describe, expect, it } from 'vitest'
import type { SnapshotInfo } from '../../../src/common/block-info.js'
import { BDRV_CHILD_DATA, BDRV_CHILD_METADATA, BDRV_CHILD_PRIMARY } from '../../../src/common/child-role.js'
import { addDirtyBitmap } from '../../../src/global-state/bitmaps/bitmaps.js'
import { type BlockDriver, defineDriver, type NewSnapshot } from '../../../src/global-state/driver.js'
import type { MainLoop } from '../../../src/global-state/main-loop.js'
import type { NodeState } from '../../../src/global-state/node-state.js'
import { blockOp } from '../../../src/global-state/op-blockers.js'
import {
  applySnapshot,
  canSnapshot,
  createSnapshot,
  deleteSnapshot,
  findSnapshot,
  listSnapshots,
  loadSnapshot,
} from '../../../src/global-state/snapshot.js'
import { type DrainedSection, withDrained } from '../../../src/io/drained.js'
import { GraphWorld } from '../../support/graph-world.js'

interface Vault {
  length: number
  snapshots: SnapshotInfo[]
  loaded: number | undefined
}

/** A disk without data whose length is all that a snapshot keeps. */
const vault = defineDriver({
  name: 'vault',
  kind: 'protocol',
  options: {},
  open: () => {
    const state: Vault = { length: 4096, snapshots: [], loaded: undefined }
    const io = {
      length: () => state.length,
      read: () => {},
      write: () => {},
      truncate: (length: number) => {
        state.length = length
      },
    }
    return { io, state }
  },
  snapshots: {
    list: (state) => state.snapshots,
    async create(state, snapshot) {
      state.snapshots.push(taken(snapshot, String(state.snapshots.length + 1), state.length))
    },
    async apply(state, index) {
      state.length = state.snapshots[index]?.diskSize ?? 0
    },
    async delete(state, index) {
      state.snapshots.splice(index, 1)
    },
    async load(state, index) {
      state.loaded = index
    },
  },
}) as unknown as BlockDriver

/** A format that keeps metadata in memory about the file below it. */
const ledger = defineDriver({
  name: 'ledger',
  kind: 'format',
  options: {},
  childNames: ['file'],
  async open(context) {
    await context.child('file', BDRV_CHILD_DATA | BDRV_CHILD_METADATA | BDRV_CHILD_PRIMARY)
    return { io: { length: () => 0, read: () => {} }, state: undefined }
  },
})

function taken(snapshot: NewSnapshot, id: string, diskSize: number): SnapshotInfo {
  return {
    id,
    name: snapshot.name,
    dateSeconds: 0,
    dateNanoseconds: 0,
    vmClockNanoseconds: snapshot.vmClockNanoseconds ?? 0n,
    vmStateSize: snapshot.vmStateSize ?? 0,
    icount: snapshot.icount,
    diskSize,
  }
}

async function open(options: Record<string, unknown>) {
  const world = new GraphWorld({ drivers: [vault, ledger as unknown as BlockDriver] })
  const node = await world.open(options)
  const run = (act: (main: MainLoop, quiet: DrainedSection) => Promise<void>) =>
    world.main((main) => withDrained([node], (quiet) => act(main, quiet)))
  return {
    node,
    world,
    run,
    create: (name: string) => run((main, quiet) => createSnapshot(main, quiet, node, { name })),
    names: () => listSnapshots(node).map(({ id, name }) => `${id}:${name}`),
  }
}

const stateOf = (node: NodeState | undefined) => node?.driverState as Vault

describe('snapshots of a node', () => {
  it('are created, listed, found by id before name, and deleted', async () => {
    const disk = await open({ driver: 'vault' })
    for (const name of ['a', 'b', '1']) await disk.create(name)
    expect(disk.names()).toEqual(['1:a', '2:b', '3:1'])
    expect(findSnapshot(disk.node, '1')?.name).toBe('a')
    expect(findSnapshot(disk.node, 'b')?.id).toBe('2')
    expect(findSnapshot(disk.node, { name: '1' })?.id).toBe('3')
    expect(findSnapshot(disk.node, { id: '2', name: 'a' })).toBeUndefined()
    await disk.run((main, quiet) => deleteSnapshot(main, quiet, disk.node, { name: '1' }))
    expect(disk.names()).toEqual(['1:a', '2:b'])
  })

  it('bring the length back that the disk had, and parents hear of it', async () => {
    const disk = await open({ driver: 'raw', file: { driver: 'vault' } })
    await disk.create('small')
    stateOf(disk.node.file?.node).length = 8192
    await disk.run((main, quiet) => applySnapshot(main, quiet, disk.node, 'small'))
    expect(disk.node.file?.node.state.length).toBe(4096)
    await new Promise<void>((resolve) => queueMicrotask(resolve))
    expect(disk.node.state.length).toBe(4096)
  })

  it('are handed on by a node that shows all or part of its only child', async () => {
    const file = { driver: 'vault' }
    for (const options of [
      { driver: 'raw', file },
      { driver: 'raw', offset: 512, size: 512, file },
      { driver: 'throttle', file },
      { driver: 'throttle', file: { driver: 'raw', file } },
    ]) {
      const disk = await open(options)
      await disk.create('x')
      expect(disk.names()).toEqual(['1:x'])
    }
  })

  it('are refused by a node with metadata about its file, and where no driver knows them', async () => {
    for (const options of [{ driver: 'ledger', file: { driver: 'vault' } }, { driver: 'null-co' }]) {
      const disk = await open(options)
      expect(canSnapshot(disk.node)).toBe(false)
      await expect(disk.create('x')).rejects.toMatchObject({ code: 'ENOTSUP' })
      expect(() => listSnapshots(disk.node)).toThrow(/does not support snapshots/)
    }
  })

  it('are not changed of a read-only node; one may be loaded there alone', async () => {
    const writable = await open({ driver: 'vault' })
    await writable.create('x')
    const load = (disk: Awaited<ReturnType<typeof open>>) =>
      disk.run((main, quiet) => loadSnapshot(main, quiet, disk.node, 'x'))
    await expect(load(writable)).rejects.toMatchObject({ code: 'EINVAL' })
    const disk = await open({ driver: 'vault', 'read-only': true })
    await expect(disk.create('y')).rejects.toMatchObject({ code: 'EACCES' })
    await expect(load(disk)).rejects.toMatchObject({ code: 'ENOENT' })
    stateOf(disk.node).snapshots.push(taken({ name: 'x' }, '1', 0))
    await load(disk)
    expect(stateOf(disk.node).loaded).toBe(0)
  })

  it('are not applied over dirty bitmaps, here or on the way down, nor where somebody blocks it', async () => {
    const disk = await open({ driver: 'raw', file: { driver: 'vault' } })
    await disk.create('x')
    const apply = () => disk.run((main, quiet) => applySnapshot(main, quiet, disk.node, 'x'))
    for (const node of [disk.node, disk.node.file?.node]) {
      if (node === undefined) throw new Error('no file')
      await disk.world.main(async (main) => void addDirtyBitmap(main, node, { granularity: 512 }))
      await expect(apply()).rejects.toMatchObject({ code: 'EBUSY' })
      node.state.bitmaps = []
    }
    await apply()
    const below = disk.node.file?.node
    if (below === undefined) throw new Error('no file')
    await disk.world.main(async (main) => blockOp(main, below, 'internal-snapshot', { message: 'a job runs' }))
    await expect(apply()).rejects.toMatchObject({ code: 'EBUSY' })
    await expect(disk.create('y')).rejects.toMatchObject({ code: 'EBUSY' })
  })

  it('need a drained section that covers the node', async () => {
    const disk = await open({ driver: 'vault' })
    const other = await disk.world.open({ driver: 'null-co' })
    await expect(
      disk.world.main((main) => withDrained([other], (quiet) => createSnapshot(main, quiet, disk.node, { name: 'x' }))),
    ).rejects.toThrow(/does not cover/)
  })
})
