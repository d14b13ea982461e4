// A guest over a socket: what it writes is on the disk, and what is on the disk it reads, with every kind of ring.

import { once } from 'node:events'
import { describe, expect, test } from 'vitest'
import { loadHostIpc } from '../../../../src/platform/native/host-ipc.js'
import { leavesNothingOpen, serveDisk } from '../../../support/vhost-user/served-disk.js'
import { SharedGuest, type SharedGuestOptions } from '../../../support/vhost-user/shared-guest.js'

const KINDS: [string, SharedGuestOptions][] = [
  ['split', {}],
  ['packed', { packed: true }],
  ['split, memory as a table', { slots: false }],
  ['split without a record of requests in flight', { inflight: false }],
  ['packed without a record of requests in flight', { packed: true, inflight: false }],
  ['four split queues', { queues: 4 }],
  ['four packed queues', { queues: 4, packed: true }],
  ['split, across regions of memory', { queueSize: 512, cut: true }],
  ['packed, across regions of memory', { queueSize: 512, cut: true, packed: true, slots: false }],
]

describe('a guest on a socket', () => {
  test.each(KINDS)('reads and writes: %s', async (_name, options) => {
    await leavesNothingOpen(async () => {
      const ipc = await loadHostIpc()
      const { queues = 1, queueSize = 256 } = options
      const served = await serveDisk({ queues, queueSize, serial: 'a-serial' })
      const guest = new SharedGuest(ipc, options)
      try {
        await guest.start(served.socket)
        await exercise(guest, served.disk)
        expect(served.log).toEqual([])
      } finally {
        guest.close()
        await served.close()
      }
    })
  })

  test('stops and goes on where it stood, on one connection', async () => {
    const ipc = await loadHostIpc()
    for (const packed of [false, true]) {
      const served = await serveDisk()
      const guest = new SharedGuest(ipc, { packed, queueSize: 16 })
      await guest.start(served.socket)
      for (let round = 0; round < 5; round++) {
        await Promise.allSettled(
          Array.from({ length: 23 }, (_, i) => guest.disks[0]?.write(i * 512, pattern(round + i))),
        )
        const base = await guest.stopRings()
        expect(base).not.toBe(0)
        await guest.startRing(0, base)
        guest.front.say(18, { payload: new Uint8Array([0, 0, 0, 0, 1, 0, 0, 0]) })
        const got = new Uint8Array(512)
        await guest.disks[0]?.read(22 * 512, got)
        expect(got).toEqual(pattern(round + 22))
      }
      guest.close()
      await served.close()
    }
  })

  test('tells of a new length', async () => {
    const ipc = await loadHostIpc()
    const served = await serveDisk()
    const guest = new SharedGuest(ipc)
    await guest.start(served.socket)
    expect(guest.disks[0]?.size).toBe(16 << 20)
    const channel = await guest.openChannel()
    await served.disk.resize(32 << 20)
    expect(await channel.next()).toBe('CONFIG_CHANGE_MSG')
    await guest.readConfig()
    expect(guest.disks[0]?.size).toBe(32 << 20)
    guest.close()
    await served.close()
  })

  test('kicks and calls by messages', async () => {
    const ipc = await loadHostIpc()
    const served = await serveDisk({ inbandNotifications: true })
    const guest = new SharedGuest(ipc, { inband: true })
    await guest.start(served.socket)
    await exercise(guest, served.disk)
    expect(guest.calls).toBeGreaterThan(0)
    guest.close()
    await served.close()
  })

  test('front-ends come in turn, and a second one waits', async () => {
    const ipc = await loadHostIpc()
    const served = await serveDisk()
    const first = new SharedGuest(ipc)
    const second = new SharedGuest(ipc)
    await first.start(served.socket)
    const starting = second.start(served.socket)
    await first.disks[0]?.write(0, pattern(1))
    expect(second.disks).toEqual([])
    first.close()
    await starting
    const got = new Uint8Array(512)
    await second.disks[0]?.read(0, got)
    expect(got).toEqual(pattern(1))
    second.close()
    await served.close()
  })

  test('a listener that throws is warned of, and disturbs nobody', async () => {
    const ipc = await loadHostIpc()
    const warned = once(process, 'warning')
    const failing = () => {
      throw new Error('a listener of the test')
    }
    const served = await serveDisk({ onFrontEnd: failing })
    const guest = new SharedGuest(ipc)
    await guest.start(served.socket)
    expect(await guest.front.tell(12345)).toBe(false)
    await guest.disks[0]?.write(0, pattern(1))
    expect(String(await warned)).toMatch(/a listener of the test/)
    guest.close()
    await served.close()
  })

  test('a second one is sent away where that is the policy', async () => {
    const ipc = await loadHostIpc()
    const served = await serveDisk({ secondFrontEnd: 'refuse' })
    const first = new SharedGuest(ipc)
    const second = new SharedGuest(ipc)
    await first.start(served.socket)
    await expect(second.start(served.socket)).rejects.toThrow()
    await first.disks[0]?.write(0, pattern(1))
    expect(served.log).toEqual(['a second front-end was sent away'])
    first.close()
    second.close()
    await served.close()
  })
})

async function exercise(guest: SharedGuest, disk: { read(offset: number, length: number): Promise<Uint8Array> }) {
  const jobs = guest.disks.flatMap((each, queue) =>
    Array.from({ length: 100 }, async (_, i) => {
      const at = (queue * 100 + i) * 4096
      const data = new Uint8Array(4096).fill(queue * 50 + i + 1)
      await each.write(at, data)
      const got = new Uint8Array(4096)
      await each.read(at, got)
      expect(same(got, data)).toBe(true)
      expect(same(await disk.read(at, 4096), data)).toBe(true)
    }),
  )
  for (const job of jobs) await job
  const [first] = guest.disks
  await first?.flush()
  await first?.writeZeroes(0, 8192)
  await first?.discard(4096, 4096)
  expect(await disk.read(0, 4096)).toEqual(new Uint8Array(4096))
}

function same(a: Uint8Array, b: Uint8Array): boolean {
  return Buffer.compare(a, b) === 0
}

function pattern(seed: number): Uint8Array {
  return new Uint8Array(512).map((_, i) => (seed * 31 + i) & 0xff)
}
