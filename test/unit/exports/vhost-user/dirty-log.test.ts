// The log of written pages (vhost-user.rst, Migration): what is in it and when, turned on and off while rings run, given
// anew; and front-ends whose logs are none.

import { closeSync, ftruncateSync, mkdtempSync, openSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { beforeAll, describe, expect, test } from 'vitest'
import type { HostIpc } from '../../../../src/common/host-ipc.js'
import type { QueueConfig } from '../../../../src/devices/virtio/queue/queue-layout.js'
import { LogMemory } from '../../../../src/exports/vhost-user/dirty-log/log-memory.js'
import { loadHostIpc } from '../../../../src/platform/native/host-ipc.js'
import { encodeMemoryRegion } from '../../../../src/protocols/vhost-user/memory-regions.js'
import * as m from '../../../../src/protocols/vhost-user/messages.js'
import { encodeU64 } from '../../../../src/protocols/vhost-user/payloads.js'
import { encodeLog } from '../../../../src/protocols/vhost-user/shared-area.js'
import type { FrontEnd } from '../../../support/vhost-user/front-end.js'
import { guestAddress, ringAddress } from '../../../support/vhost-user/guest-addresses.js'
import { GuestLog } from '../../../support/vhost-user/guest-log.js'
import { GUEST_BASE } from '../../../support/vhost-user/guest-regions.js'
import { hostile, region, untilTrue } from '../../../support/vhost-user/hostile.js'
import { leavesNothingOpen, type ServedDisk, serveDisk } from '../../../support/vhost-user/served-disk.js'
import { SharedGuest, type SharedGuestOptions } from '../../../support/vhost-user/shared-guest.js'

const PAGE = 4096
const MEMORY_BYTES = 4 << 20
const MEMORY_END = GUEST_BASE + MEMORY_BYTES
const BOTH = [{ packed: false }, { packed: true }]
let ipc: HostIpc

beforeAll(async () => {
  ipc = await loadHostIpc()
})

/** A guest that runs, and a log that is as long as it has to be. */
function logged(
  act: (guest: SharedGuest, log: GuestLog, served: ServedDisk) => Promise<void>,
  options: SharedGuestOptions = {},
  onFile = false,
): Promise<void> {
  return leavesNothingOpen(async () => {
    const served = await serveDisk({}, onFile ? 'file' : 'memory')
    const guest = new SharedGuest(ipc, options)
    const log = new GuestLog(ipc, MEMORY_END, 24)
    await guest.start(served.socket)
    try {
      await act(guest, log, served)
    } finally {
      guest.close()
      log.close()
      await served.close()
    }
  })
}

function pagesOf(address: number, bytes: number): number[] {
  const pages: number[] = []
  for (let page = address - (address % PAGE); page < address + bytes; page += PAGE) pages.push(page)
  return pages
}

function ringPages(guest: SharedGuest): number[] {
  const config = guest.configs[0] as QueueConfig
  const used = pagesOf(Number(guestAddress(config.usedRing)), 4)
  return guest.options.packed ? [...used, ...pagesOf(Number(guestAddress(config.descriptorTable)), 16 * 64)] : used
}

/** The pages in which a byte is another than in `before`. */
function changedPages(guest: SharedGuest, before: Uint8Array): number[] {
  const now = memoryOf(guest)
  return pagesOf(GUEST_BASE, MEMORY_BYTES).filter((page) => {
    const at = page - GUEST_BASE
    return Buffer.compare(now.subarray(at, at + PAGE), before.subarray(at, at + PAGE)) !== 0
  })
}

function memoryOf(guest: SharedGuest): Uint8Array {
  return (guest.memory.regions[0] as { bytes: Uint8Array }).bytes
}

describe('what is logged', () => {
  test.each(BOTH)('pages of data and status, and of the ring: packed $packed', (options) =>
    logged(async (guest, log) => {
      await guest.disks[0]?.write(0, new Uint8Array(8192).fill(5))
      await log.give(guest.front)
      expect([...log.take()]).toEqual([])
      await guest.logWrites(true)
      // Nothing says what was written to the ring before.
      expect([...log.take()].sort()).toEqual([...new Set(ringPages(guest))].sort())
      const before = memoryOf(guest).slice()
      const got = new Uint8Array(8192)
      await guest.disks[0]?.read(0, got)
      expect(got).toEqual(new Uint8Array(8192).fill(5))
      const set = log.take()
      for (const page of [...changedPages(guest, before), ...ringPages(guest)]) expect(set).toContain(page)
      // Data, status, ring: no page that the device only reads.
      expect(set.size).toBeLessThanOrEqual(3 + 2 + ringPages(guest).length)
    }, options),
  )

  test.each(BOTH)('of a write the status alone: packed $packed', (options) =>
    logged(async (guest, log) => {
      await log.give(guest.front)
      await guest.logWrites(true)
      log.take()
      await guest.disks[0]?.write(0, new Uint8Array(16384).fill(5))
      expect(log.take().size).toBeLessThanOrEqual(1 + ringPages(guest).length)
    }, options),
  )

  test('a read that fails may have written', () =>
    logged(async (guest, log) => {
      await log.give(guest.front)
      await guest.logWrites(true)
      log.take()
      const buffers = guest.drivers[0]?.end as number
      await expect(guest.disks[0]?.read(16 << 20, new Uint8Array(8192))).rejects.toMatchObject({ code: 'EIO' })
      expect([...log.take()].filter((page) => page >= buffers - PAGE).length).toBeGreaterThan(1)
    }))

  test('nothing when it was never asked for, or no longer', () =>
    logged(async (guest, log) => {
      await log.give(guest.front)
      await guest.disks[0]?.read(0, new Uint8Array(512))
      expect(log.take().size).toBe(0)
      await guest.logWrites(true)
      await guest.logWrites(false)
      log.take()
      await guest.disks[0]?.read(0, new Uint8Array(512))
      expect(log.take().size).toBe(0)
    }))

  test('the used ring where the front-end says, be it outside guest memory', () =>
    logged(async (guest, _log) => {
      const far = MEMORY_END + 17 * PAGE
      const log = new GuestLog(ipc, far + 2 * PAGE)
      await log.give(guest.front)
      const payload = ringAddress(0, guest.configs[0] as QueueConfig, BigInt(far))
      expect(await guest.front.tell(m.VHOST_USER_SET_VRING_ADDR, { payload })).toBe(true)
      log.take()
      await guest.disks[0]?.read(0, new Uint8Array(512))
      // Buffers are not logged without VHOST_F_LOG_ALL.
      expect([...log.take()]).toEqual([far])
      log.close()
    }))

  test('an event tells of it, once a turn', () =>
    logged(async (guest, log) => {
      const event = ipc.createEvent()
      expect(await guest.front.tell(m.VHOST_USER_SET_LOG_FD, { fds: [event] })).toBe(true)
      await log.give(guest.front)
      await guest.disks[0]?.read(0, new Uint8Array(512))
      expect(ipc.takeSignals(event)).toBe(false)
      await guest.logWrites(true)
      await guest.disks[0]?.read(0, new Uint8Array(512))
      await untilTrue(() => ipc.takeSignals(event))
      ipc.close(event)
    }))
})

describe('while rings run', () => {
  test.each(BOTH)('it is turned on and off and no request hears of it: packed $packed', (options) =>
    logged(
      async (guest, log) => {
        await log.give(guest.front)
        const disk = guest.disks[0]
        const work: Promise<void>[] = []
        for (let i = 0; i < 400; i++) {
          work.push(disk?.write(i * 512, new Uint8Array(512).fill(i)) as Promise<void>)
          if (i % 40 === 0) await guest.logWrites(i % 80 === 0)
        }
        await Promise.all(work)
        const got = new Uint8Array(512)
        for (let i = 0; i < 400; i += 7) {
          await disk?.read(i * 512, got)
          expect(got).toEqual(new Uint8Array(512).fill(i))
        }
      },
      options,
      true,
    ),
  )

  test('another log: the old one is not written any more', () =>
    logged(async (guest, log) => {
      await log.give(guest.front)
      await guest.logWrites(true)
      await guest.disks[0]?.read(0, new Uint8Array(512))
      const next = new GuestLog(ipc, MEMORY_END + 64 * PAGE)
      await next.give(guest.front)
      log.take()
      await guest.disks[0]?.read(0, new Uint8Array(512))
      expect(log.take().size).toBe(0)
      expect(next.take().size).toBeGreaterThan(1)
      next.close()
    }))

  test.each(BOTH)('a ring that stops has no requests, and writes no more: packed $packed', (options) =>
    logged(
      async (guest, log, served) => {
        const { device } = served.server
        await log.give(guest.front)
        await guest.logWrites(true)
        log.take()
        // Writes take their time.
        const work = Array.from({ length: 16 }, (_, i) => {
          const data = new Uint8Array(4096).fill(1)
          return i % 2 === 0 ? guest.disks[0]?.write(i * 4096, data) : guest.disks[0]?.read((i - 1) * 4096, data)
        })
        await untilTrue(() => device.requestsInFlight > 0)
        const base = await guest.stopRings()
        expect(device.requestsInFlight).toBe(0)
        const set = log.take()
        for (const page of ringPages(guest)) expect(set).toContain(page)
        await new Promise((resolve) => setTimeout(resolve, 5))
        expect(log.take().size).toBe(0)
        await guest.startRings(base)
        await Promise.all(work)
      },
      { ...options, slots: false },
      true,
    ),
  )

  test('the log may come after logging was asked for, while rings do not run', () =>
    leavesNothingOpen(async () => {
      const served = await serveDisk()
      const guest = new SharedGuest(ipc)
      const log = new GuestLog(ipc, MEMORY_END)
      guest.logging = true
      await guest.start(served.socket)
      await log.give(guest.front)
      log.take()
      await guest.disks[0]?.read(0, new Uint8Array(8192))
      expect(log.take().size).toBeGreaterThan(2)
      guest.close()
      log.close()
      await served.close()
    }))
})

describe('logs that are none', () => {
  const sound = { size: BigInt(PAGE), offset: 0n }
  const bad: [string, { size: bigint; offset: bigint }][] = [
    ['an empty one', { ...sound, size: 0n }],
    ['one that ends beyond its file', { ...sound, offset: 1n }],
    ['one longer than its file', { ...sound, size: BigInt(PAGE + 1) }],
    ['one of 2^64 bytes', { ...sound, size: (1n << 64n) - 1n }],
    ['one of 2^53 bytes', { ...sound, size: 1n << 53n }],
    ['one at the end of the world', { size: BigInt(PAGE), offset: (1n << 64n) - BigInt(PAGE) }],
  ]

  /** Says it and sees the connection end, with a line that says why. */
  const refused = async (front: FrontEnd, served: ServedDisk, payload: Uint8Array, fds: number[], why: RegExp) => {
    front.say(m.VHOST_USER_SET_LOG_BASE, { payload, fds })
    await front.closedByPeer()
    expect(served.log.at(-1)).toMatch(why)
  }

  test.each(bad)('%s', (_name, described) =>
    hostile(async (front, served) => {
      const fd = front.own(ipc.createMemory('log', PAGE))
      await refused(front, served, encodeLog(described), [fd], /^SET_LOG_BASE: .*log/)
    }),
  )

  test('what is no memory', () =>
    hostile((front, served) =>
      refused(front, served, encodeLog(sound), [front.event()], /SET_LOG_BASE: .*is no memory/),
    ))

  test('none at all, and half a message', async () => {
    await hostile((front, served) => refused(front, served, encodeLog(sound), [], /SET_LOG_BASE: no descriptor/))
    await hostile((front, served) => refused(front, served, new Uint8Array(8), [], /SET_LOG_BASE: a payload of 8/))
  })

  test('one that was not agreed on', () =>
    hostile(async (front, served) => {
      front.say(m.VHOST_USER_SET_PROTOCOL_FEATURES, { payload: encodeU64(0x1b229n) })
      const all = (1n << 32n) | (1n << 30n) | (1n << 26n)
      expect(await front.tellNumber(m.VHOST_USER_SET_FEATURES, all)).toBe(false)
      const fd = front.own(ipc.createMemory('log', PAGE))
      await refused(front, served, encodeLog(sound), [fd], /not agreed/)
    }))

  test('one that is too short for memory, or for a ring that is logged', () =>
    logged(async (guest, log, served) => {
      const { front } = guest
      await log.give(front)
      await guest.logWrites(true)
      const config = guest.configs[0] as QueueConfig
      for (const at of [BigInt(MEMORY_END + 7 * PAGE), (1n << 64n) - 1n]) {
        const payload = ringAddress(0, config, at)
        expect(await front.tell(m.VHOST_USER_SET_VRING_ADDR, { payload })).toBe(false)
      }
      const memory = front.own(ipc.createMemory('more', 0x10000))
      const more = encodeMemoryRegion(
        region({ guestAddress: BigInt(MEMORY_END + 0x10_0000), userAddress: 0x7000_0000n }),
      )
      expect(await front.tell(m.VHOST_USER_ADD_MEM_REG, { payload: more, fds: [memory] })).toBe(false)
      await guest.disks[0]?.read(0, new Uint8Array(512))
      const short = new GuestLog(ipc, MEMORY_END - 8 * PAGE)
      await refused(front, served, short.payload, [short.fd], /the log of written pages ends at/)
      short.close()
    }))

  test('logging without a log, while rings run', () =>
    logged(async (guest) => {
      await expect(guest.logWrites(true)).rejects.toThrow('SET_FEATURES')
      const payload = ringAddress(0, guest.configs[0] as QueueConfig, 0n)
      expect(await guest.front.tell(m.VHOST_USER_SET_VRING_ADDR, { payload })).toBe(false)
      expect(await guest.front.tell(m.VHOST_USER_SET_LOG_FD)).toBe(false)
      await guest.disks[0]?.read(0, new Uint8Array(512))
    }))

  test('one that becomes shorter ends the connection; unsealed ones can be refused', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'dirty-log-'))
    const fd = openSync(join(folder, 'log'), 'w+')
    ftruncateSync(fd, PAGE)
    await logged(async (guest, _log, served) => {
      const payload = encodeLog({ size: BigInt(PAGE), offset: 0n })
      await guest.front.ask(m.VHOST_USER_SET_LOG_BASE, { payload, fds: [fd] })
      await guest.logWrites(true)
      ftruncateSync(fd, 0)
      await new Promise((resolve) => setTimeout(resolve, 20))
      guest.kick(0)
      await guest.front.closedByPeer()
      expect(served.log.at(-1)).toBe('connection ended: a file of the log has become shorter')
    })
    ftruncateSync(fd, PAGE)
    const payload = encodeLog({ size: BigInt(PAGE), offset: 0n })
    await hostile((front, served) => refused(front, served, payload, [fd], /only sealed memory/), {
      requireSealed: true,
    })
    closeSync(fd)
    rmSync(folder, { recursive: true })
  })
})

test('the bits of a range are those of its pages, and no others', () => {
  const bytes = 96
  const fd = ipc.createMemory('log', bytes + 5)
  const other = ipc.map(fd, 0, bytes + 5)
  const seen = new Uint8Array(other.view(0, bytes + 5))
  const log = LogMemory.map(ipc, fd, { size: BigInt(bytes), offset: 5n }, { requireSealed: true })
  expect(log.end).toBe(bytes * 8 * PAGE)
  const range = fc.tuple(fc.nat(log.end - 1), fc.oneof(fc.nat(3 * PAGE), fc.nat(log.end))).map(([at, length]) => {
    return { at, length: Math.max(1, Math.min(length, log.end - at)) }
  })
  fc.assert(
    fc.property(range, ({ at, length }) => {
      seen.fill(0)
      log.mark(at, length)
      const pages: number[] = []
      for (let page = 0; page < bytes * 8; page++) {
        if (((seen[5 + (page >> 3)] as number) & (1 << (page & 7))) !== 0) pages.push(page * PAGE)
      }
      expect(pages).toEqual(pagesOf(at, length))
      expect([...seen.subarray(0, 5)]).toEqual([0, 0, 0, 0, 0])
    }),
    { numRuns: 500 },
  )
  log.unmap()
  other.unmap()
})
