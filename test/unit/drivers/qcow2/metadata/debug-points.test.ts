// What the driver tells a debug node below its image: by the names of the field, before it does what they say.

import { describe, expect, test } from 'vitest'
import { BDRV_FIX_ERRORS, BDRV_FIX_LEAKS } from '../../../../../src/common/block-info.js'
import { BDRV_O_CHECK } from '../../../../../src/common/open-flags.js'
import { BDRV_REQ_WRITE_COMPRESSED } from '../../../../../src/common/request.js'
import { KiB } from '../../../../../src/common/units.js'
import { childLength, forward, forwardedFlags, openFiltered } from '../../../../../src/drivers/filters/forward.js'
import { amendImage } from '../../../../../src/global-state/amend-image.js'
import { checkImage } from '../../../../../src/global-state/check-image.js'
import { type BlockDriver, defineDriver } from '../../../../../src/global-state/driver.js'
import { makeEmpty } from '../../../../../src/global-state/image.js'
import type { OpenSettings } from '../../../../../src/global-state/life/open-request.js'
import { createSnapshot } from '../../../../../src/global-state/snapshot.js'
import { withDrained } from '../../../../../src/io/drained.js'
import { read } from '../../../../../src/io/read.js'
import { nodeServices } from '../../../../../src/platform/services.js'
import { firstDifference } from '../../../../../src/testing/crash/compare-bytes.js'
import { FaultPlan } from '../../../../../src/testing/storage/faults.js'
import { contentOf, storageDriver, storageOf } from '../../../../../src/testing/storage/memory-storage.js'
import { Recording } from '../../../../../src/testing/storage/recording.js'
import { codeOf, openRig } from '../../../../support/driver-rig.js'
import { ImageBytes } from '../../../../support/qcow2-bytes.js'
import { emptyImage, handMadeImage } from '../../../../support/qcow2-image.js'
import { inspectQcow2 } from '../../../../support/qcow2-inspector.js'
import { recordedFiles } from '../../../../support/recorded-files.js'

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

/** An image over blkdebug with one rule, which fails the next write once \`event\` has come. */
async function ruled(event: string, image: Uint8Array, settings: OpenSettings = {}) {
  const store = storageOf(image)
  const rules = { driver: 'blkdebug', 'inject-error': [{ event, iotype: 'write', errno: 'ENOSPC', once: true }] }
  const options = { driver: 'qcow2', file: { ...rules, image: { driver: 'file', filename: 'disk' } } }
  const drivers = recordedFiles(new Map([['disk', store]]), new Recording(), new FaultPlan())
  const rig = await openRig(options, { drivers, services: nodeServices, settings })
  return { ...rig, store }
}

describe('a rule strikes where a whole refcount block is written:', () => {
  test('in new refcount structures', async () => {
    const { graph, node, close, store } = await ruled('refblock_update', handMadeImage().bytes)
    const widen = () => graph.mainLoop((main) => amendImage(main, node, { refcount_bits: 32 }))
    expect(await codeOf(widen)).toBe('ENOSPC')
    expect(inspectQcow2(contentOf(store)).problems).toEqual([])
    await widen()
    await close()
    expect(new ImageBytes(contentOf(store)).get32(96)).toBe(5)
    expect(inspectQcow2(contentOf(store)).problems).toEqual([])
  })

  test('in the tables of an image that is emptied', async () => {
    const { graph, backend, close, store } = await ruled('refblock_update', handMadeImage({ clusterBits: 12 }).bytes)
    const empty = () =>
      graph.mainLoop(async (main) => {
        if (backend.edge !== undefined) await makeEmpty(main, backend.edge)
      })
    expect(await codeOf(empty)).toBe('ENOSPC')
    await empty()
    await close()
    expect(inspectQcow2(contentOf(store)).problems).toEqual([])
  })

  test.each([
    ['in a repair of counts', (image: ImageBytes) => image.setRefcount(5, 7n)],
    ['in a repair that builds them anew', (image: ImageBytes) => image.put64(CLUSTER, 0n)],
  ])('%s', async (_name, damage) => {
    const image = handMadeImage()
    damage(image)
    const flags = BDRV_O_CHECK
    const { graph, node, close, store } = await ruled('refblock_update', image.bytes, { flags })
    const fix = BDRV_FIX_LEAKS | BDRV_FIX_ERRORS
    const repair = () => graph.mainLoop((main) => checkImage(main, node, fix, () => {}))
    await codeOf(repair)
    expect(firstDifference(contentOf(store), image.bytes)).toBeUndefined()
    await repair()
    await close()
    expect(inspectQcow2(contentOf(store)).problems).toEqual([])
  })
})

describe('a rule strikes where clusters get their space in the file:', () => {
  const bytes = 64 * KiB

  test('at a write of a part of one', async () => {
    const { backend, close, store } = await ruled('cluster_alloc_space', emptyImage(bytes, { clusterBits: 12 }))
    await backend.write(0, new Uint8Array(4096).fill(1))
    expect(await codeOf(() => backend.write(8192, new Uint8Array(1024).fill(2)))).toBe('ENOSPC')
    await backend.write(8192, new Uint8Array(1024).fill(3))
    const into = new Uint8Array(4096)
    await backend.read(8192, into)
    expect([into[0], into[1023], into[1024], into[4095]]).toEqual([3, 3, 0, 0])
    await close()
    expect(inspectQcow2(contentOf(store)).problems).toEqual([])
  })

  test('at growth with space', async () => {
    const { backend, close, store } = await ruled('cluster_alloc_space', emptyImage(bytes, { clusterBits: 12 }))
    const grow = () => backend.truncate(2 * bytes, { truncate: { preallocation: 'falloc' } })
    expect(await codeOf(grow)).toBe('ENOSPC')
    await grow()
    expect(backend.length).toBe(2 * bytes)
    await close()
    expect(inspectQcow2(contentOf(store)).problems).toEqual([])
  })
})
