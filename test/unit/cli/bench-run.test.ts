import { expect, test } from 'vitest'
import { type BenchPlan, runBench } from '../../../src/cli/img/bench-run.js'
import { hostClock } from '../../../src/common/clock.js'
import { BlockError } from '../../../src/common/error.js'
import { createBackend } from '../../../src/global-state/backend.js'
import { defineDriver } from '../../../src/global-state/driver.js'
import { BlockGraph } from '../../../src/global-state/graph.js'
import { openNode } from '../../../src/global-state/life/open.js'
import type { Completion } from '../../../src/io/node-io.js'

interface Disk {
  offsets: number[]
  flushes: number
  inFlight: number
  mostInFlight: number
  inFlightAtFlush: number[]
}

const PLAN: BenchPlan = {
  count: 100,
  depth: 8,
  bytes: 512,
  step: 512,
  offset: 0,
  length: 8192,
  write: false,
  pattern: 0,
  flushInterval: 0,
  drainOnFlush: true,
}

/** A disk of 8 KiB that notes its requests; `complete` decides when (and whether) the one at `offset` ends. */
async function openDisk(complete: (disk: Disk, offset: number) => Completion) {
  const disk: Disk = { offsets: [], flushes: 0, inFlight: 0, mostInFlight: 0, inFlightAtFlush: [] }
  const request = (offset: number): Completion => {
    disk.offsets.push(offset)
    disk.inFlight++
    disk.mostInFlight = Math.max(disk.mostInFlight, disk.inFlight)
    const leave = () => {
      disk.inFlight--
    }
    const pending = complete(disk, offset)
    if (pending === undefined) return leave()
    return pending.finally(leave)
  }
  const driver = defineDriver({
    name: 'noting',
    kind: 'protocol',
    options: {},
    open: () => ({
      io: {
        length: () => 8192,
        read: request,
        write: request,
        flush: () => {
          disk.flushes++
          disk.inFlightAtFlush.push(disk.inFlight)
        },
      },
      state: undefined,
    }),
  })
  const graph = new BlockGraph({ drivers: [driver] })
  const backend = await graph.mainLoop(async (main) => {
    const node = await openNode(main, graph, { driver: 'noting' })
    return createBackend(main, graph, { node, perm: 0b11 })
  })
  const run = (plan: Partial<BenchPlan>) =>
    runBench(backend.root, { ...PLAN, ...plan }, hostClock, (bytes) => new Uint8Array(bytes))
  return { disk, run }
}

const atOnce = () => undefined
const later = () => new Promise<void>((resolve) => setImmediate(resolve))

test.each([
  ['at once', atOnce, 1],
  ['later', later, 8],
  ['in turn at once and later', (_disk: Disk, offset: number) => ((offset / 512) % 2 === 0 ? undefined : later()), 8],
])(
  'sends every request, in order of the disk, never more than the depth: completing %s',
  async (_name, complete, most) => {
    const { disk, run } = await openDisk(complete)
    await run({})
    expect(disk.offsets).toEqual(Array.from({ length: 100 }, (_, index) => (index * 512) % 8192))
    expect(disk.mostInFlight).toBeLessThanOrEqual(8)
    expect(disk.mostInFlight).toBeGreaterThanOrEqual(most)
    expect(disk.inFlight).toBe(0)
  },
)

test('nothing to send ends at once', async () => {
  const { disk, run } = await openDisk(atOnce)
  await run({ count: 0 })
  expect(disk.offsets).toEqual([])
})

test('a flush waits until nothing is in flight, unless it need not', async () => {
  const { disk, run } = await openDisk(later)
  await run({ write: true, count: 20, depth: 4, flushInterval: 5 })
  expect(disk.inFlightAtFlush).toEqual([0, 0, 0, 0])
  const other = await openDisk(later)
  await other.run({ write: true, count: 20, depth: 4, flushInterval: 5, drainOnFlush: false })
  expect(other.disk.flushes).toBe(4)
  expect(Math.max(...other.disk.inFlightAtFlush)).toBeGreaterThan(0)
})

test.each([
  [
    'thrown',
    () => {
      throw new BlockError('ENOSPC', 'full')
    },
  ],
  ['rejected', () => later().then(() => Promise.reject(new BlockError('ENOSPC', 'full')))],
])('a failure that is %s ends the run once nothing is in flight', async (_name, fail) => {
  const { disk, run } = await openDisk((_disk, offset) => (offset === 2048 ? fail() : later()))
  await expect(run({})).rejects.toMatchObject({ code: 'ENOSPC' })
  // The one that threw never came to be in flight for its caller, and the driver's count shows it.
  expect(disk.inFlight).toBeLessThanOrEqual(1)
  expect(disk.offsets.length).toBeLessThan(20)
})

test('an image without room refuses the first request', async () => {
  const { run } = await openDisk(atOnce)
  await expect(run({ offset: 8192 })).rejects.toMatchObject({ code: 'EIO' })
})

test('a run that never waits still gives the event loop its turns', async () => {
  const { run } = await openDisk(atOnce)
  let turns = 0
  const count = () => {
    turns++
    timer = setImmediate(count)
  }
  let timer = setImmediate(count)
  await run({ count: 300_000 })
  clearImmediate(timer)
  expect(turns).toBeGreaterThan(1)
})

test('no memory for a buffer is an error of the run', async () => {
  const { disk, run } = await openDisk(atOnce)
  await expect(run({ bytes: 2 ** 53 })).rejects.toMatchObject({ code: 'ENOMEM' })
  expect(disk.offsets).toEqual([])
})
