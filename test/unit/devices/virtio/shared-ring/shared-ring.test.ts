import { once } from 'node:events'
import { Worker } from 'node:worker_threads'
import { describe, expect, test } from 'vitest'
import { DescriptorChain } from '../../../../../src/devices/virtio/memory/descriptor-chain.js'
import { FETCH_CHAIN, FETCH_EMPTY } from '../../../../../src/devices/virtio/queue/device-queue.js'
import { Doorbell } from '../../../../../src/devices/virtio/shared-ring/doorbell.js'
import { SharedRingDevice } from '../../../../../src/devices/virtio/shared-ring/ring-device.js'
import { SharedRingDriver } from '../../../../../src/devices/virtio/shared-ring/ring-driver.js'
import { createSharedRing, type SharedRing } from '../../../../../src/devices/virtio/shared-ring/shared-ring.js'
import { ALL_FEATURES } from '../../../../support/queue-pair.js'

/** A thread that acts on the words of a buffer after it has been told to, as another end would. */
async function otherThread(buffer: SharedArrayBuffer, code: string): Promise<{ go(): void; ended: Promise<unknown> }> {
  const worker = new Worker(
    `const { parentPort, workerData } = require('node:worker_threads')
     const words = new Int32Array(workerData)
     parentPort.once('message', () => { Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 20); ${code}; parentPort.close() })
     parentPort.postMessage('ready')`,
    { eval: true, workerData: buffer },
  )
  await once(worker, 'message')
  return { go: () => worker.postMessage('go'), ended: once(worker, 'exit') }
}

describe('a doorbell', () => {
  const pair = () => {
    const buffer = new SharedArrayBuffer(64)
    return { buffer, here: new Doorbell(buffer, 8), there: new Doorbell(buffer, 8) }
  }

  test('that was rung since it was read is not slept on', () => {
    const { here, there } = pair()
    const seen = here.read()
    there.ring()
    there.ring()
    expect(here.wait(seen, 10_000)).toBe('rung')
    expect([here.answered, there.rung, here.rung]).toEqual([1, 2, 0])
    expect(here.wait(here.read(), 1)).toBe('timed-out')
    expect(here.answered).toBe(1)
  })

  test('closed: wakes now and from then on', () => {
    const { here, there } = pair()
    const seen = here.read()
    there.close()
    expect([here.wait(seen, 10_000), here.wait(here.read(), 10_000)]).toEqual(['rung', 'closed'])
    there.ring()
    expect(here.wait(here.read(), 10_000)).toBe('closed')
  })

  test('waits beside the event loop', async () => {
    const { here, there } = pair()
    const seen = here.read()
    const waking = here.waitAsync(seen, 20_000)
    there.ring()
    expect(await waking).toBe('rung')
    expect(await here.waitAsync(seen, 20_000)).toBe('rung')
    expect(await here.waitAsync(here.read(), 1)).toBe('timed-out')
    const last = here.waitAsync(here.read(), 20_000)
    there.close()
    expect([await last, await here.waitAsync(here.read(), 20_000), here.answered]).toEqual(['rung', 'closed', 3])
  })

  test('wakes another thread', async () => {
    const { buffer, here } = pair()
    const other = await otherThread(buffer, 'Atomics.add(words, 2, 2); Atomics.notify(words, 2)')
    const seen = here.read()
    other.go()
    expect(here.wait(seen, 20_000)).toBe('rung')
    expect(here.read()).toBe(2)
    await other.ended
  })
})

describe.each(ALL_FEATURES)('a ring between threads: %s', (_name, features) => {
  const size = 8
  const create = () => createSharedRing({ size, dataBytes: 1024, features, tableEntries: 4 })

  const send = ({ queue }: SharedRingDriver, ring: SharedRing, bytes: number) => {
    const head = queue.begin(2)
    if (head < 0) return false
    queue.append(ring.dataAddress, bytes, false)
    queue.append(ring.dataAddress + 512, bytes, true)
    queue.end()
    return true
  }

  test('its ends may be made in any order, over what a message port copies', () => {
    const ring = create()
    const copy = structuredClone(ring)
    expect(copy.buffer).not.toBe(ring.buffer)
    const device = new SharedRingDevice(copy)
    expect(device.wait(0)).toBe(false)
    const driver = new SharedRingDriver(ring)
    expect(send(driver, ring, 100)).toBe(true)
    driver.publish()
    expect(driver.notified).toBe(1)
    const chain = new DescriptorChain()
    expect(device.wait(0)).toBe(true)
    expect([device.queue.fetch(chain), chain.readableBytes, chain.writableBytes]).toEqual([FETCH_CHAIN, 100, 100])
    chain.writable(100)
    device.queue.push(chain.head, 100)
    expect(driver.wait(1, 0)).toBe(false)
    device.publish()
    expect(device.notified).toBe(1)
    expect(driver.wait(1, 0)).toBe(true)
    expect([driver.queue.reap(), driver.queue.usedLength]).toEqual([chain.head, 100])
  })

  test('nobody is notified who did not ask for it', () => {
    const ring = create()
    const driver = new SharedRingDriver(ring)
    const device = new SharedRingDevice(ring)
    const chain = new DescriptorChain()
    send(driver, ring, 1)
    driver.publish()
    // A device at work finds the next one by itself; so does a driver.
    const rungFirst = driver.notified
    device.queue.fetch(chain)
    device.queue.push(chain.head, 1)
    send(driver, ring, 1)
    driver.publish()
    device.publish()
    expect([driver.notified, device.notified]).toEqual([rungFirst, 0])
    expect(device.queue.fetch(chain)).toBe(FETCH_CHAIN)
    device.queue.push(chain.head, 1)
    expect(device.queue.fetch(chain)).toBe(FETCH_EMPTY)
    device.publish()
    expect(device.notified).toBe(0)
    expect(driver.wait(2, 0)).toBe(true)
  })

  test('both ends beside each other in one event loop', async () => {
    const ring = create()
    const driver = new SharedRingDriver(ring)
    const device = new SharedRingDevice(ring)
    const serving = (async () => {
      const chain = new DescriptorChain()
      while (await device.waitAsync()) {
        while (device.queue.fetch(chain) === FETCH_CHAIN) device.queue.push(chain.head, 1)
        device.publish()
      }
    })()
    let back = 0
    for (let sent = 0; back < 200; ) {
      while (sent < 200 && send(driver, ring, 1)) sent++
      driver.publish()
      expect(await driver.waitAsync()).toBe(true)
      while (driver.queue.reap() >= 0) back++
    }
    driver.close()
    await serving
    expect([driver.queue.inFlight, device.queue.inFlight]).toEqual([0, 0])
  })

  test('an end that is closed leaves what was shown to be taken, and no more sleep', () => {
    const ring = create()
    const driver = new SharedRingDriver(ring)
    const device = new SharedRingDevice(ring)
    send(driver, ring, 1)
    driver.publish()
    driver.close()
    expect(device.wait()).toBe(true)
    device.queue.fetch(new DescriptorChain())
    expect(device.wait()).toBe(false)
    device.close()
    expect(driver.wait()).toBe(false)
  })
})

test('a ring with a size or data that make none', () => {
  for (const size of [0, 3, 65536, Number.NaN]) {
    expect(() => createSharedRing({ size, dataBytes: 0 })).toThrow(expect.objectContaining({ code: 'EINVAL' }))
  }
  expect(() => createSharedRing({ size: 4, dataBytes: -1 })).toThrow(expect.objectContaining({ code: 'EINVAL' }))
  expect(createSharedRing({ size: 3, dataBytes: 0, features: { packed: true } }).plan.size).toBe(3)
})
