import { describe, expect, it } from 'vitest'
import { ChunkStore } from '../../../src/drivers/memory.js'
import { Controller, controlledDriver } from '../../../src/testing/storage/controlled.js'
import { FaultPlan, faultDriver } from '../../../src/testing/storage/faults.js'
import { contentOf, storageDriver, storageOf } from '../../../src/testing/storage/memory-storage.js'
import { applyEntry, Recording, recordingDriver } from '../../../src/testing/storage/recording.js'
import { settleMicrotasks } from '../../../src/testing/virtual-clock.js'
import { codeOf, openRig } from '../../support/driver-rig.js'

const fill = (bytes: number, value: number) => new Uint8Array(bytes).fill(value)

describe('storageDriver', () => {
  it('keeps its content when the node is closed and shows it again', async () => {
    const store = storageOf(fill(4096, 1))
    const first = await openRig({ driver: 'storage' }, { drivers: [storageDriver(store)] })
    await first.backend.write(512, fill(512, 2))
    await first.close()
    const second = await openRig({ driver: 'storage' }, { drivers: [storageDriver(store)] })
    const into = new Uint8Array(1024)
    await second.backend.read(0, into)
    await second.close()
    expect([into[0], into[512]]).toEqual([1, 2])
  })
})

describe('recordingDriver', () => {
  const open = (recording: Recording, store: ChunkStore) =>
    openRig(
      { driver: 'recording', 'node-name': 'rec', file: { driver: 'storage' } },
      { drivers: [storageDriver(store), recordingDriver(recording)] },
    )

  it('writes down in order what changes the storage, with marks', async () => {
    const recording = new Recording()
    const rig = await open(recording, new ChunkStore(8192))
    const data = fill(512, 7)
    await rig.backend.write(0, data)
    data.fill(9)
    recording.mark('acknowledged')
    await rig.backend.writeZeroes(512, 512)
    await rig.backend.discard(1024, 512)
    await rig.backend.flush()
    await rig.backend.truncate(4096)
    await rig.close()
    // Closing may flush once more.
    const entries = recording.entries.slice(0, 6)
    expect(entries.map(({ kind }) => kind)).toEqual(['write', 'mark', 'zero', 'discard', 'flush', 'truncate'])
    expect(entries[0]).toMatchObject({ node: 'rec', offset: 0, failed: false })
    expect(entries[0]?.kind === 'write' && entries[0].data.every((byte) => byte === 7)).toBe(true)
    expect(entries[5]).toMatchObject({ from: 8192, length: 4096 })
    for (const [index, entry] of entries.entries()) {
      expect(entry.doneSerial).toBeGreaterThanOrEqual(entry.serial)
      expect(entry.serial).toBeGreaterThan(entries[index - 1]?.serial ?? -1)
    }
  })

  it('replays to the same content', async () => {
    const recording = new Recording()
    const store = new ChunkStore(200_000)
    const rig = await open(recording, store)
    for (let i = 0; i < 40; i++) await rig.backend.write((i * 4999) % 190_000, fill(3000, i + 1))
    await rig.backend.writeZeroes(10_000, 70_000)
    await rig.backend.discard(65_536, 65_536)
    await rig.backend.truncate(150_000)
    await rig.backend.truncate(160_000)
    await rig.close()
    const replayed = new ChunkStore(200_000)
    for (const entry of recording.changes()) applyEntry(replayed, entry)
    expect(Buffer.compare(contentOf(replayed), contentOf(store))).toBe(0)
  })

  it('notes a failure and what is still in flight', async () => {
    const recording = new Recording()
    const plan = new FaultPlan()
    const rig = await openRig(
      { driver: 'recording', file: { driver: 'fault', file: { driver: 'memory', size: 8192 } } },
      { drivers: [recordingDriver(recording), faultDriver(plan)] },
    )
    plan.add({ on: 'write', fail: 'EIO' })
    expect(await codeOf(() => rig.backend.write(0, fill(512, 1)))).toBe('EIO')
    expect(recording.entries[0]).toMatchObject({ failed: true })
    const stuck = plan.add({ on: 'write', stick: true })
    const request = rig.backend.write(0, fill(512, 1))
    await settleMicrotasks()
    expect(recording.entries[1]?.doneSerial).toBeUndefined()
    stuck.release()
    await request
    expect(recording.entries[1]?.doneSerial).toBeDefined()
    await rig.close()
  })
})

describe('faultDriver', () => {
  const open = (plan: FaultPlan) =>
    openRig({ driver: 'fault', file: { driver: 'memory', size: 65_536 } }, { drivers: [faultDriver(plan)] })
  const first = async (rig: Awaited<ReturnType<typeof open>>, bytes: number) => {
    const into = new Uint8Array(bytes)
    await rig.backend.read(0, into)
    return [...new Set(into)]
  }

  it('fails the n-th request of a kind and none else', async () => {
    const plan = new FaultPlan()
    const rig = await open(plan)
    const fault = plan.add({ on: 'write', nth: 3, times: 2, fail: 'ENOSPC' })
    const codes = []
    for (let i = 0; i < 6; i++) {
      codes.push(await codeOf(() => rig.backend.write(0, fill(512, i))))
      await rig.backend.read(0, new Uint8Array(512))
    }
    expect(codes).toEqual([undefined, undefined, 'ENOSPC', 'ENOSPC', undefined, undefined])
    expect(fault).toMatchObject({ hits: 2, seen: 6 })
    await rig.close()
  })

  it('tears a write', async () => {
    const plan = new FaultPlan()
    const rig = await open(plan)
    await rig.backend.write(0, fill(4096, 1))
    plan.add({ on: 'write', tearAfter: 1024 })
    expect(await codeOf(() => rig.backend.write(0, fill(4096, 2)))).toBe('EIO')
    const into = new Uint8Array(4096)
    await rig.backend.read(0, into)
    expect([into[0], into[1023], into[1024], into[4095]]).toEqual([2, 2, 1, 1])
    await rig.close()
  })

  it('holds a request until it is released, before it has any effect', async () => {
    const plan = new FaultPlan()
    const rig = await open(plan)
    const fault = plan.add({ on: 'write', stick: true })
    const request = rig.backend.write(0, fill(512, 5))
    await settleMicrotasks()
    expect(fault.stuck).toBe(1)
    expect(await first(rig, 512)).toEqual([0])
    fault.release()
    await request
    expect(await first(rig, 512)).toEqual([5])
    await rig.close()
  })

  it('runs out of space by what grows only', async () => {
    const plan = new FaultPlan()
    const rig = await open(plan)
    plan.limitSpace(1024)
    await rig.backend.write(0, fill(1024, 1))
    await rig.backend.write(512, fill(512, 2))
    expect(await codeOf(() => rig.backend.write(1024, fill(512, 3)))).toBe('ENOSPC')
    plan.clear()
    await rig.backend.write(1024, fill(512, 3))
    await rig.close()
  })

  it('fails block status where asked to', async () => {
    const plan = new FaultPlan()
    const rig = await open(plan)
    plan.add({ on: 'block-status', fail: 'EIO' })
    expect(await codeOf(() => rig.backend.blockStatus(0, 512))).toBe('EIO')
    expect(await codeOf(() => rig.backend.blockStatus(0, 512))).toBeUndefined()
    await rig.close()
  })

  it('strikes only what touches its range', async () => {
    const plan = new FaultPlan()
    const rig = await open(plan)
    plan.add({ range: { offset: 4096, bytes: 512 }, times: Number.POSITIVE_INFINITY })
    await rig.backend.read(0, new Uint8Array(4096))
    await rig.backend.read(4608, new Uint8Array(512))
    expect(await codeOf(() => rig.backend.read(4000, new Uint8Array(200)))).toBe('EIO')
    await rig.close()
  })
})

describe('controlledDriver', () => {
  const open = (controller: Controller) =>
    openRig({ driver: 'controlled', size: 65_536 }, { drivers: [controlledDriver(controller)] })

  it('completes requests in the order the test releases them', async () => {
    const controller = new Controller()
    const rig = await open(controller)
    const order: string[] = []
    const requests = ['a', 'b', 'c'].map((name, index) =>
      rig.backend.write(index * 512, fill(512, index + 1)).then(() => order.push(name)),
    )
    await controller.waitFor(3)
    expect(rig.node.state.inFlight).toBe(3)
    controller.pending[1]?.release()
    await settleMicrotasks()
    expect(order).toEqual(['b'])
    controller.pending[1]?.fail('EIO')
    controller.releaseNext()
    await Promise.allSettled(requests)
    expect(order).toEqual(['b', 'a'])
    expect(await codeOf(() => requests[2])).toBe('EIO')
    controller.open = true
    const into = new Uint8Array(1536)
    await rig.backend.read(0, into)
    expect([into[0], into[512], into[1024]]).toEqual([1, 2, 0])
    expect(await rig.close()).toBe(0)
  })

  it('hands completions to a scheduler', async () => {
    const tasks: { label: string; run: () => void }[] = []
    const controller = new Controller(
      (task, label) => new Promise((resolve) => tasks.push({ label, run: () => resolve(task) })),
    )
    const rig = await open(controller)
    const request = rig.backend.write(0, fill(512, 1))
    await settleMicrotasks()
    expect(tasks.map(({ label }) => label)).toEqual([expect.stringContaining('write 0+512')])
    tasks[0]?.run()
    await request
    controller.open = true
    await rig.close()
  })
})
