import fc from 'fast-check'
import { expect, test } from 'vitest'
import { BlockError } from '../../../src/common/error.js'
import { buffersOf } from '../../../src/common/io-vector.js'
import { defaultLimits } from '../../../src/common/limits.js'
import { BlkMachine } from '../../support/blk-machine.js'
import type { DiskCall } from '../../support/flat-disk.js'
import { check, cutPlace, DISK, type LegalRequest, same, submit } from '../../support/legal-request.js'

/** A request by where it stands to the one before: mostly it goes on where that ended, in the same direction. */
interface Neighbour {
  kind: 'same' | LegalRequest['kind']
  jump: number
  sectors: number
  seed: number
  readCuts: number[]
  writeCuts: number[]
}

const neighbour: fc.Arbitrary<Neighbour> = fc.record({
  kind: fc.oneof(
    { weight: 12, arbitrary: fc.constant('same' as const) },
    { weight: 4, arbitrary: fc.constantFrom('read' as const, 'write' as const) },
    { weight: 1, arbitrary: fc.constantFrom('flush' as const, 'get-id' as const) },
  ),
  jump: fc.oneof({ weight: 8, arbitrary: fc.constant(0) }, { weight: 1, arbitrary: fc.integer({ min: -12, max: 4 }) }),
  sectors: fc.integer({ min: 1, max: 3 }),
  seed: fc.nat(255),
  readCuts: fc.array(cutPlace, { maxLength: 3 }),
  writeCuts: fc.array(cutPlace, { maxLength: 3 }),
})

const limits = fc.record({
  maxTransfer: fc.constantFrom(0, 0, 1536, 2048, 8192),
  // No request alone is too much: it would be cut up, and be answered later than its successor.
  maxIov: fc.constantFrom(4, 5, 16, 1024),
})

/** Gives each its place. `apart`: no two overlap, so that they may be answered in any order. */
function place(list: Neighbour[], apart: boolean): LegalRequest[] {
  const placed: LegalRequest[] = []
  let direction: 'read' | 'write' = 'read'
  let end = 0
  for (const { kind, jump, ...request } of list) {
    if (kind === 'read' || kind === 'write') direction = kind
    const sector = Math.min(Math.max(end + jump, apart ? end : 0), DISK / 512)
    placed.push({ ...request, sector, kind: kind === 'same' ? direction : kind })
    if (kind === 'same' || kind === 'read' || kind === 'write') end = sector + request.sectors
  }
  return placed
}

const isTransfer = ({ kind }: LegalRequest) => kind === 'read' || kind === 'write'

/** Whether the range of a call or request holds one of the bad sectors. */
function spoils(bad: number[], offset: number, bytes: number): boolean {
  return bad.some((sector) => offset < (sector + 1) * 512 && sector * 512 < offset + bytes)
}

function isSpoilt(bad: number[], request: LegalRequest): boolean {
  return isTransfer(request) && spoils(bad, request.sector * 512, request.sectors * 512)
}

/** What is joined stays within what the node takes, and within 32 requests. */
function checkCalls(calls: DiskCall[], { maxTransfer, maxIov }: { maxTransfer: number; maxIov: number }): void {
  for (const call of calls) {
    if (call.buffers === undefined) continue
    expect(buffersOf(call.buffers).length).toBeLessThanOrEqual(maxIov)
    if (maxTransfer !== 0) expect(call.bytes).toBeLessThanOrEqual(maxTransfer)
    expect(call.bytes).toBeLessThanOrEqual(32 * 3 * 512)
  }
}

/** Nothing is counted twice or forgotten, however requests were joined and taken apart. */
function checkCounts(machine: BlkMachine, requests: LegalRequest[], bad: number[]): void {
  for (const kind of ['read', 'write'] as const) {
    const ours = requests.filter((request) => request.kind === kind)
    const reached = ours.filter((request) => (request.sector + request.sectors) * 512 <= DISK)
    const failed = reached.filter((request) => isSpoilt(bad, request))
    const counts = machine.disk.root.accounting[kind]
    expect([counts.operations, counts.failed, counts.invalid]).toEqual([
      reached.length - failed.length,
      failed.length,
      ours.length - reached.length,
    ])
    const good = reached.filter((request) => !failed.includes(request))
    expect(counts.bytes).toBe(good.reduce((sum, { sectors }) => sum + sectors * 512, 0))
    expect(counts.merged).toBeLessThanOrEqual(Math.max(counts.operations - 1, 0))
  }
}

let joined = 0

function machineFor(bounds: { maxTransfer: number; maxIov: number }): BlkMachine {
  const machine = new BlkMachine({ diskBytes: DISK, driverQueueSize: 512, queueSize: 512, serial: 'x' })
  machine.disk.node.state.limits = { ...defaultLimits(), ...bounds }
  return machine
}

test('one batch, answered at once: as a flat disk that does one after the other, bad sectors and all', async () => {
  joined = 0
  const bad = fc.array(fc.nat(63), { maxLength: 2 })
  await fc.assert(
    fc.asyncProperty(
      fc.array(neighbour, { minLength: 1, maxLength: 40, size: 'max' }),
      limits,
      bad,
      async (list, bounds, sectors) => {
        const machine = machineFor(bounds)
        machine.disk.fault = ({ offset, bytes }) =>
          spoils(sectors, offset, bytes) ? new BlockError('EIO', 'bad sector') : undefined
        const requests = place(list, false)
        const heads = requests.map((request, slot) => submit(machine, request, slot))
        const used = new Map((await machine.run()).map((done) => [done.head, done.used]))
        expect(used.size).toBe(requests.length)
        const model = new Uint8Array(DISK)
        requests.forEach((request, slot) => {
          check(machine, model, request, slot, used.get(heads[slot] as number) ?? -1, isSpoilt(sectors, request))
        })
        expect(same(machine.disk.data, model)).toBe(true)
        checkCalls(machine.disk.calls, bounds)
        checkCounts(machine, requests, sectors)
        expect(machine.device.resetReason).toBeUndefined()
        joined += machine.disk.root.accounting.read.merged + machine.disk.root.accounting.write.merged
      },
    ),
    { numRuns: 300 },
  )
  expect(joined).toBeGreaterThan(500)
}, 120_000)

test('answered later in any order, some with errors: each request ends once, a bad one alone', async () => {
  const order = fc.infiniteStream(fc.nat())
  const bad = fc.array(fc.nat(63), { maxLength: 2 })
  const traffic = fc.array(neighbour, { minLength: 1, maxLength: 40, size: 'max' })
  await fc.assert(
    fc.asyncProperty(traffic, limits, bad, order, async (list, bounds, sectors, next) => {
      const machine = machineFor(bounds)
      machine.disk.held = []
      const requests = place(list, true)
      const heads = requests.map((request, slot) => submit(machine, request, slot))
      const used = new Map<number, number>()
      machine.driver.kick()
      for (let turn = 0; turn < 400 && used.size < requests.length; turn++) {
        await machine.settle()
        const { held } = machine.disk
        const [answer] = held.splice((next.next().value as number) % Math.max(held.length, 1), 1)
        const isBad = answer !== undefined && spoils(sectors, answer.call.offset, answer.call.bytes)
        answer?.settle(isBad ? new BlockError('EIO', 'bad sector') : undefined)
        await machine.settle()
        for (const done of machine.reap()) {
          expect(used.has(done.head)).toBe(false)
          used.set(done.head, done.used)
        }
      }
      const model = new Uint8Array(DISK)
      requests.forEach((request, slot) => {
        check(machine, model, request, slot, used.get(heads[slot] as number) ?? -1, isSpoilt(sectors, request))
      })
      expect(same(machine.disk.data, model)).toBe(true)
      checkCalls(machine.disk.calls, bounds)
      checkCounts(machine, requests, sectors)
      expect([machine.disk.root.busy(), machine.driver.queue.free]).toEqual([false, 512])
    }),
    { numRuns: 150 },
  )
}, 120_000)
