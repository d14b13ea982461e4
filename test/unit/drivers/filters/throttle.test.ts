import { describe, expect, it } from 'vitest'
import { setThrottleLimits, type ThrottleState, throttleLimits } from '../../../../src/drivers/filters/throttle.js'
import { drained } from '../../../../src/io/drained.js'
import { VirtualClock } from '../../../../src/testing/virtual-clock.js'
import { codeOf, openIn, openRig, type Rig } from '../../../support/driver-rig.js'

const throttled = (limits: Record<string, unknown>, more: Record<string, unknown> = {}) => ({
  driver: 'throttle',
  limits,
  file: { driver: 'memory', size: '1M' },
  ...more,
})

const submit = (rig: Rig, count: number) => {
  const progress = { done: 0, all: Promise.resolve() as Promise<unknown> }
  const requests = Array.from({ length: count }, (_, index) =>
    rig.backend.write(index * 512, new Uint8Array(512).fill(index + 1)).then(() => {
      progress.done++
    }),
  )
  progress.all = Promise.allSettled(requests)
  return progress
}

describe('throttle', () => {
  it('holds the rate on the clock of the graph', async () => {
    const clock = new VirtualClock()
    const rig = await openRig(throttled({ 'iops-total': 10 }), { clock })
    const progress = submit(rig, 50)
    await clock.advance(1000)
    expect(progress.done).toBeGreaterThanOrEqual(11)
    expect(progress.done).toBeLessThanOrEqual(13)
    await clock.runAll()
    await progress.all
    expect(progress.done).toBe(50)
    const into = new Uint8Array(50 * 512)
    const reading = rig.backend.read(0, into)
    await clock.runAll()
    await reading
    expect(Array.from({ length: 50 }, (_, index) => into[index * 512])).toEqual(
      Array.from({ length: 50 }, (_, i) => i + 1),
    )
    expect(await rig.close()).toBe(0)
    expect(clock.pendingTimers).toBe(0)
  })

  it.each(['node', 'child'] as const)('lets what waits go when its %s is drained', async (which) => {
    const clock = new VirtualClock()
    const rig = await openRig(throttled({ 'bps-total': 512 }), { clock })
    const progress = submit(rig, 20)
    await clock.advance(0)
    expect(progress.done).toBeLessThan(3)
    const before = clock.now()
    const node = which === 'node' ? rig.node : rig.node.file?.node
    const section = await drained(node as NonNullable<typeof node>)
    expect(progress.done).toBe(20)
    expect(clock.now()).toBe(before)
    section.end()
    const after = submit(rig, 5)
    await clock.advance(0)
    expect(after.done).toBe(0)
    await clock.runAll()
    await rig.close()
  })

  it('lets what waits go when a node above is drained', async () => {
    const clock = new VirtualClock()
    const rig = await openRig({ driver: 'raw', file: throttled({ 'iops-total': 1 }) }, { clock })
    const progress = submit(rig, 20)
    const section = await drained(rig.node)
    expect(progress.done).toBe(20)
    section.end()
    await rig.close()
  })

  it('changes its limits live', async () => {
    const clock = new VirtualClock()
    const rig = await openRig(throttled({ 'iops-total': 1 }), { clock })
    const progress = submit(rig, 30)
    await clock.advance(0)
    setThrottleLimits(rig.node.driverState as ThrottleState, throttleLimits({}))
    await progress.all
    expect(progress.done).toBe(30)
    expect(clock.now()).toBe(0)
    await rig.close()
  })

  it('shares a group by name within one graph', async () => {
    const clock = new VirtualClock()
    const a = await openRig(throttled({ 'iops-total': 10 }, { 'throttle-group': 'g' }), { clock })
    const b = await openIn(a.graph, {
      driver: 'throttle',
      'throttle-group': 'g',
      file: { driver: 'memory', size: '1M' },
    })
    const other = await openRig(
      { driver: 'throttle', 'throttle-group': 'g', file: { driver: 'memory', size: '1M' } },
      { clock },
    )
    const [ofA, ofB, ofOther] = [submit(a, 100), submit(b, 100), submit(other, 100)]
    await clock.advance(2000)
    expect(ofOther.done).toBe(100)
    expect(ofA.done + ofB.done).toBeGreaterThanOrEqual(21)
    expect(ofA.done + ofB.done).toBeLessThanOrEqual(23)
    expect(ofB.done).toBeGreaterThanOrEqual(9)
    await clock.runAll()
    await b.close()
    await a.close()
    await other.close()
    expect(clock.pendingTimers).toBe(0)
  })

  it('refuses other limits for a group that exists, and limits that make no sense', async () => {
    const a = await openRig(throttled({ 'iops-total': 10 }, { 'throttle-group': 'g' }))
    expect(await codeOf(() => openIn(a.graph, throttled({ 'iops-total': 20 }, { 'throttle-group': 'g' })))).toBe(
      'EINVAL',
    )
    expect(await codeOf(() => openIn(a.graph, throttled({ 'bps-total': 1, 'bps-read': 1 })))).toBe('EINVAL')
    expect(await codeOf(() => openIn(a.graph, throttled({ 'bps-sideways': 1 })))).toBe('EINVAL')
    expect(a.graph.nodes.size).toBe(2)
    await a.close()
  })

  it('counts discards and zero writes as writes, and flushes not at all', async () => {
    const clock = new VirtualClock()
    const rig = await openRig(throttled({ 'iops-write': 10 }), { clock })
    await rig.backend.writeZeroes(0, 512)
    await rig.backend.discard(0, 512)
    let done = false
    const third = rig.backend.writeZeroes(0, 512).then(() => {
      done = true
    })
    await rig.backend.flush()
    await rig.backend.read(0, new Uint8Array(512))
    expect(done).toBe(false)
    await clock.runAll()
    await third
    await rig.close()
  })
})
