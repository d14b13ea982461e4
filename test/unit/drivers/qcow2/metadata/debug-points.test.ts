// What the driver tells a debug node below its image: by the names of the field, before it does what they say.

import { expect, test } from 'vitest'
import { BDRV_REQ_WRITE_COMPRESSED } from '../../../../../src/common/request.js'
import { childLength, forward, forwardedFlags, openFiltered } from '../../../../../src/drivers/filters/forward.js'
import { type BlockDriver, defineDriver } from '../../../../../src/global-state/driver.js'
import { makeEmpty } from '../../../../../src/global-state/image.js'
import { createSnapshot } from '../../../../../src/global-state/snapshot.js'
import { withDrained } from '../../../../../src/io/drained.js'
import { read } from '../../../../../src/io/read.js'
import { nodeServices } from '../../../../../src/platform/services.js'
import { contentOf, storageDriver, storageOf } from '../../../../../src/testing/storage/memory-storage.js'
import { codeOf, openRig } from '../../../../support/driver-rig.js'
import { emptyImage } from '../../../../support/qcow2-image.js'
import { inspectQcow2 } from '../../../../support/qcow2-inspector.js'

const CLUSTER = 512

/** A filter that hears of points. */
function listener(heard: string[]): BlockDriver {
  return defineDriver({
    name: 'listener',
    kind: 'filter',
    options: {},
    childNames: ['file'],
    async open(context) {
      const file = await openFiltered(context)
      return {
        io: {
          length: () => childLength(file),
          read: (offset, into, flags) => read(file, offset, into, flags),
          ...forward(file, 'write', 'writeZeroes', 'discard'),
          debugEvent: (event) => void heard.push(event),
        },
        state: undefined,
        ...forwardedFlags(file),
      }
    },
  }) as BlockDriver
}

async function watched(size: number) {
  const heard: string[] = []
  const drivers = [
    listener(heard),
    storageDriver(storageOf(emptyImage(size, { refcountOrder: 6 }))),
    storageDriver(storageOf(new Uint8Array(4 * CLUSTER).fill(7)), 'base'),
  ]
  const options = {
    driver: 'qcow2',
    file: { driver: 'listener', file: { driver: 'storage' } },
    backing: { driver: 'base', 'read-only': true },
  }
  const rig = await openRig(options, { drivers, services: nodeServices })
  /** What is heard while `act` runs, each once, in its order. */
  const during = async (act: () => Promise<unknown>) => {
    heard.length = 0
    await act()
    return [...new Set(heard)]
  }
  return { ...rig, heard, during }
}

test('each step has its point', async () => {
  const { backend, node, graph, during, heard, close } = await watched(400 * CLUSTER)
  expect(heard).toEqual(['reftable_load'])
  const sector = new Uint8Array(CLUSTER).fill(1)
  expect(await during(() => backend.write(100, new Uint8Array(50)))).toEqual([
    'cluster_alloc',
    'refblock_load',
    'l2_alloc_write',
    'refblock_update_part',
    'l2_update',
    'l1_update',
    'cow_read',
    'read_backing_aio',
    'cow_write',
    'write_aio',
  ])
  expect(await during(() => backend.write(0, sector))).toEqual(['write_aio'])
  expect(await during(() => backend.read(0, new Uint8Array(CLUSTER)))).toEqual(['read_aio'])
  expect(await during(() => backend.read(CLUSTER, new Uint8Array(CLUSTER)))).toEqual(['read_backing_aio'])
  const flags = BDRV_REQ_WRITE_COMPRESSED
  expect(await during(() => backend.write(4 * CLUSTER, sector, { flags }))).toEqual([
    'cluster_alloc_bytes',
    'write_compressed',
    'l2_update_compressed',
  ])
  expect(await during(() => backend.read(4 * CLUSTER, new Uint8Array(CLUSTER)))).toEqual(['read_compressed'])
  expect((await during(() => backend.flush()))[0]).toBe('flush_to_os')
  expect(await during(() => backend.discard(0, CLUSTER))).toContain('cluster_free')
  const growth = await during(async () => {
    for (let at = 8; at < 400; at += 8) await backend.write(at * CLUSTER, new Uint8Array(8 * CLUSTER))
  })
  expect(growth).toEqual(expect.arrayContaining(['refblock_alloc', 'refblock_alloc_write', 'refblock_alloc_hookup']))
  const snapshot = () =>
    graph.mainLoop((main) => withDrained([node], (quiet) => createSnapshot(main, quiet, node, { name: 'one' })))
  await snapshot()
  expect(await during(() => backend.write(8 * CLUSTER, sector))).toEqual(
    expect.arrayContaining(['l2_alloc_cow_read', 'l2_alloc_write', 'l1_update']),
  )
  expect(await during(() => backend.truncate(20_000 * CLUSTER))).toEqual(
    expect.arrayContaining(['l1_grow_alloc_table', 'l1_grow_write_table', 'l1_grow_activate_table']),
  )
  expect(await during(() => backend.truncate(100 * CLUSTER))).toEqual(
    expect.arrayContaining(['l1_shrink_write_table', 'l1_shrink_free_l2_clusters']),
  )
  expect(await close()).toBe(0)
})

test('a refcount table that grows, an image that is emptied', async () => {
  const { backend, during, graph, close } = await watched(8000 * CLUSTER)
  const filled = await during(async () => {
    for (let at = 0; at < 8000; at += 500) await backend.write(at * CLUSTER, new Uint8Array(500 * CLUSTER))
  })
  expect(filled).toEqual(
    expect.arrayContaining([
      'reftable_grow',
      'refblock_alloc_write_blocks',
      'refblock_alloc_write_table',
      'refblock_alloc_switch_table',
    ]),
  )
  const emptied = await during(() =>
    graph.mainLoop(async (main) => {
      if (backend.edge !== undefined) await makeEmpty(main, backend.edge)
    }),
  )
  expect(emptied).toContain('empty_image_prepare')
  await close()
})

test('rules of blkdebug strike at points of the driver', async () => {
  const rule = (event: string) => ({ driver: 'blkdebug', 'inject-error': [{ event, errno: 'ENOSPC', once: true }] })
  for (const event of ['cluster_alloc', 'l2_alloc_write', 'l1_update', 'write_aio']) {
    const options = { driver: 'qcow2', file: { ...rule(event), image: { driver: 'storage' } } }
    const store = storageOf(emptyImage(400 * CLUSTER))
    const rig = await openRig(options, { drivers: [storageDriver(store)] })
    expect(await codeOf(() => rig.backend.write(0, new Uint8Array(CLUSTER).fill(9))), event).toBe('ENOSPC')
    await rig.backend.write(0, new Uint8Array(CLUSTER).fill(9))
    const into = new Uint8Array(CLUSTER)
    await rig.backend.read(0, into)
    expect(into[0]).toBe(9)
    await rig.close()
    expect(inspectQcow2(contentOf(store)).problems).toEqual([])
  }
})
