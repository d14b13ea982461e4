// The caches of an open image: pieces of tables, memory that is bounded by the options, and cleaning as time goes by.

import { expect, test } from 'vitest'
import { VirtualClock } from '../../../../../src/testing/virtual-clock.js'
import { openQcow2 } from '../../../../support/open-qcow2.js'
import { handMadeImage } from '../../../../support/qcow2-image.js'

const CLUSTER = 4096
const image = () => handMadeImage({ clusterBits: 12, data: 4 })

test('an L2 table is read in pieces of l2-cache-entry-size', async () => {
  const disk = await openQcow2(image(), { options: { 'l2-cache-entry-size': 512 } })
  const table = disk.image.l2At()
  await disk.read(0, 512)
  expect(disk.taken('read')).toEqual([
    [table, 512],
    [disk.image.layout.clusterSize * 5, 512],
  ])
  // Cluster 63 is the last of the first piece; cluster 64 begins another.
  await disk.read(63 * CLUSTER, 512)
  expect(disk.taken('read')).toEqual([])
  await disk.read(64 * CLUSTER, 512)
  expect(disk.taken('read')).toEqual([[table + 512, 512]])
  await disk.close()
})

test('as many pieces are kept as l2-cache-size says', async () => {
  const options = { 'l2-cache-entry-size': 512, 'l2-cache-size': 2048 }
  const disk = await openQcow2(image(), { options })
  for (let piece = 0; piece < 8; piece++) await disk.read(piece * 64 * CLUSTER, 512)
  expect([disk.state.l2Cache.size, disk.state.l2Cache.capacity]).toEqual([4, 4])
  await disk.close()
})

test('what was not used for cache-clean-interval is dropped, and what is in use stays', async () => {
  const clock = new VirtualClock()
  const disk = await openQcow2(image(), {
    clock,
    options: { 'l2-cache-entry-size': 512, 'cache-clean-interval': 10 },
  })
  const { l2Cache } = disk.state
  await disk.read(0, 512)
  await disk.read(64 * CLUSTER, 512)
  await clock.advance(9_999)
  expect(l2Cache.size).toBe(2)
  await clock.advance(1)
  expect(l2Cache.size).toBe(2)
  await disk.read(0, 512)
  await clock.advance(10_000)
  expect(l2Cache.size).toBe(1)
  await clock.advance(10_000)
  expect(l2Cache.size).toBe(0)
  await disk.close()
})

test('changed tables stay until they are written', async () => {
  const clock = new VirtualClock()
  const disk = await openQcow2(image(), { clock, options: { 'cache-clean-interval': 1 } })
  await disk.write(10 * CLUSTER, CLUSTER, 9)
  await clock.advance(5_000)
  expect([disk.state.l2Cache.dirtyCount, disk.state.refcountCache.dirtyCount]).toEqual([1, 1])
  await disk.flush()
  await clock.advance(2_000)
  expect([disk.state.l2Cache.size, disk.state.refcountCache.size]).toEqual([0, 0])
  expect(await disk.read(10 * CLUSTER, 1)).toEqual(Uint8Array.of(9))
  await disk.close()
})

test('an interval of 0 sets no timer; closing ends the one that is set', async () => {
  const clock = new VirtualClock()
  const never = await openQcow2(image(), { clock, options: { 'cache-clean-interval': 0 } })
  expect(clock.pendingTimers).toBe(0)
  await never.close()
  const often = await openQcow2(image(), { clock, options: { 'cache-clean-interval': 1 } })
  expect(clock.pendingTimers).toBe(1)
  await often.close()
  expect(clock.pendingTimers).toBe(0)
})
