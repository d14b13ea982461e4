// Front-ends that break the protocol (threats.md 3.6, U01 to U09): what they send is refused, what was there stays, the next
// front-end is served, and nothing is left open.

import { closeSync, ftruncateSync, mkdtempSync, openSync, rmSync, unlinkSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { beforeAll, describe, expect, test } from 'vitest'
import type { HostIpc } from '../../../../src/common/host-ipc.js'
import { loadHostIpc } from '../../../../src/platform/native/host-ipc.js'
import type { VhostUserBlkOptions } from '../../../../src/platform/serve-vhost-user.js'
import { encodeMessage } from '../../../../src/protocols/vhost-user/header.js'
import {
  encodeMemoryRegion,
  encodeMemoryTable,
  type MemoryRegionDescription,
} from '../../../../src/protocols/vhost-user/memory-regions.js'
import * as m from '../../../../src/protocols/vhost-user/messages.js'
import {
  encodeU64,
  encodeVringAddress,
  encodeVringDescriptor,
  encodeVringState,
} from '../../../../src/protocols/vhost-user/payloads.js'
import { encodeInflight } from '../../../../src/protocols/vhost-user/shared-area.js'
import { FrontEnd } from '../../../support/vhost-user/front-end.js'
import { leavesNothingOpen, type ServedDisk, serveDisk } from '../../../support/vhost-user/served-disk.js'
import { SharedGuest } from '../../../support/vhost-user/shared-guest.js'

const PAGE = 4096
let ipc: HostIpc

beforeAll(async () => {
  ipc = await loadHostIpc()
})

/** A connection whose protocol features are all agreed on. Afterwards a good front-end is served, and nothing is open. */
function hostile(
  act: (front: FrontEnd, served: ServedDisk) => Promise<void>,
  options: Partial<VhostUserBlkOptions> = {},
): Promise<void> {
  return leavesNothingOpen(async () => {
    const served = await serveDisk(options)
    const front = FrontEnd.connect(ipc, served.socket)
    const protocol = await front.askNumber(m.VHOST_USER_GET_PROTOCOL_FEATURES)
    front.say(m.VHOST_USER_SET_PROTOCOL_FEATURES, { payload: encodeU64(protocol) })
    try {
      await act(front, served)
    } finally {
      front.close()
    }
    await servesAnother(served)
    await served.close()
  })
}

async function servesAnother(served: ServedDisk): Promise<void> {
  const guest = new SharedGuest(ipc)
  await guest.start(served.socket)
  const data = new Uint8Array(512).fill(7)
  await guest.disks[0]?.write(0, data)
  const got = new Uint8Array(512)
  await guest.disks[0]?.read(0, got)
  expect(got).toEqual(data)
  guest.close()
}

function region(changes: Partial<MemoryRegionDescription> = {}): MemoryRegionDescription {
  return { guestAddress: 0n, size: 0x10000n, userAddress: 0x7000_0000n, mmapOffset: 0n, xen: undefined, ...changes }
}

describe('U01: descriptors nobody asked for', () => {
  test('are closed, and the message is refused', () =>
    hostile(async (front) => {
      const memory = front.own(ipc.createMemory('x', PAGE))
      expect(await front.tell(m.VHOST_USER_SET_OWNER, { fds: [memory, memory, memory] })).toBe(false)
      expect(await front.tell(m.VHOST_USER_SET_VRING_NUM, { payload: state(0, 4), fds: [memory] })).toBe(false)
      const call = encodeVringDescriptor({ index: 0, hasDescriptor: true })
      expect(await front.tell(m.VHOST_USER_SET_VRING_CALL, { payload: call, fds: [memory, memory] })).toBe(false)
      expect(await front.tell(m.VHOST_USER_SET_VRING_CALL, { payload: call })).toBe(false)
      const many = Array.from({ length: 200 }, () => memory)
      expect(await front.tell(m.VHOST_USER_SET_MEM_TABLE, { payload: encodeMemoryTable([]), fds: many })).toBe(false)
      expect(await front.tell(999, { fds: [memory] })).toBe(false)
    }))

  test('fewer or more than a table has regions', () =>
    hostile(async (front) => {
      const memory = front.own(ipc.createMemory('x', 0x20000))
      const payload = encodeMemoryTable([region(), region({ guestAddress: 0x10000n, userAddress: 0x9000_0000n })])
      expect(await front.tell(m.VHOST_USER_SET_MEM_TABLE, { payload, fds: [memory] })).toBe(false)
      expect(await front.tell(m.VHOST_USER_SET_MEM_TABLE, { payload, fds: [memory, memory, memory] })).toBe(false)
      expect(await front.tell(m.VHOST_USER_SET_MEM_TABLE, { payload, fds: [memory, memory] })).toBe(true)
    }))

  test('with a question end the connection', () =>
    hostile(async (front) => {
      const memory = front.own(ipc.createMemory('x', PAGE))
      front.say(m.VHOST_USER_GET_FEATURES, { fds: [memory] })
      await front.closedByPeer()
    }))

  test('of a message that is cut off', () =>
    hostile(async (front) => {
      const memory = front.own(ipc.createMemory('x', PAGE))
      const whole = encodeMessage(m.VHOST_USER_SET_MEM_TABLE, encodeMemoryTable([region()]))
      front.sendRaw(whole.subarray(0, 20), [memory])
    }))
})

describe('U02: memory that cannot be', () => {
  const bad: [string, Partial<MemoryRegionDescription>][] = [
    ['empty', { size: 0n }],
    ['beyond the file', { size: 0x20000n }],
    ['beyond the file by its offset', { mmapOffset: 0x1000n }],
    ['round the end of the guest', { guestAddress: (1n << 64n) - 0x1000n }],
    ['round the end of the front-end', { userAddress: (1n << 64n) - 0x1000n }],
    ['an offset round the end', { mmapOffset: (1n << 64n) - 0x1000n }],
    ['a size of everything', { size: (1n << 64n) - 1n }],
    ['not at a page', { guestAddress: 0x800n }],
    ['an offset not at a page', { mmapOffset: 8n }],
  ]

  test.each(bad)('%s', (_name, changes) =>
    hostile(async (front) => {
      const memory = front.own(ipc.createMemory('x', 0x10000))
      const fds = [memory]
      expect(await front.tell(m.VHOST_USER_ADD_MEM_REG, { payload: encodeMemoryRegion(region(changes)), fds })).toBe(
        false,
      )
      expect(await front.tell(m.VHOST_USER_SET_MEM_TABLE, { payload: encodeMemoryTable([region(changes)]), fds })).toBe(
        false,
      )
      expect(await front.tell(m.VHOST_USER_ADD_MEM_REG, { payload: encodeMemoryRegion(region()), fds })).toBe(true)
    }),
  )

  test('overlaps, more regions than slots, and one that is not there', () =>
    hostile(
      async (front) => {
        const fds = [front.own(ipc.createMemory('x', 0x10000))]
        const add = (changes: Partial<MemoryRegionDescription>) =>
          front.tell(m.VHOST_USER_ADD_MEM_REG, { payload: encodeMemoryRegion(region(changes)), fds })
        const remove = (changes: Partial<MemoryRegionDescription>) =>
          front.tell(m.VHOST_USER_REM_MEM_REG, { payload: encodeMemoryRegion(region(changes)), fds })
        expect(await add({})).toBe(true)
        expect(await add({ guestAddress: 0x8000n, userAddress: 0x9000_0000n })).toBe(false)
        expect(await add({ guestAddress: 0x100000n, userAddress: 0x7000_8000n })).toBe(false)
        expect(await remove({ size: 0x8000n })).toBe(false)
        expect(await add({ guestAddress: 0x100000n, userAddress: 0x9000_0000n })).toBe(true)
        expect(await add({ guestAddress: 0x200000n, userAddress: 0xa000_0000n })).toBe(false)
        expect(await remove({})).toBe(true)
        expect(await add({ guestAddress: 0x200000n, userAddress: 0xa000_0000n })).toBe(true)
      },
      { memorySlots: 2 },
    ))

  test('what is no memory', () =>
    hostile(async (front) => {
      const folder = mkdtempSync(join(tmpdir(), 'vhost-'))
      const descriptor = openSync(folder, 'r')
      const fds = [front.event(), descriptor]
      for (const fd of fds) {
        const payload = encodeMemoryRegion(region())
        expect(await front.tell(m.VHOST_USER_ADD_MEM_REG, { payload, fds: [fd] })).toBe(false)
      }
      closeSync(descriptor)
      rmSync(folder, { recursive: true })
    }))

  test('memory of a Xen host is refused in words', () =>
    hostile(
      async (front, { log }) => {
        const fds = [front.own(ipc.createMemory('x', 0x10000))]
        const foreign = encodeMemoryTable([region({ xen: { flags: 1, domain: 3 } })])
        expect(await front.tell(m.VHOST_USER_SET_MEM_TABLE, { payload: foreign, fds })).toBe(false)
        expect(log.at(-1)).toMatch(/Xen mapping \(flags 0x1, domain 3\), which this host cannot make/)
        const plain = encodeMemoryTable([region({ xen: { flags: 0, domain: 0 } })])
        expect(await front.tell(m.VHOST_USER_SET_MEM_TABLE, { payload: plain, fds })).toBe(true)
      },
      { xenMappings: true },
    ))

  test('a file that becomes shorter ends the connection, not the process', () =>
    leavesNothingOpen(async () => {
      const served = await serveDisk()
      const path = join(served.socket, '..', 'ram')
      const fd = openSync(path, 'w+')
      ftruncateSync(fd, 4 << 20)
      const guest = new SharedGuest(ipc, { memoryFd: fd })
      await guest.start(served.socket)
      await guest.disks[0]?.write(0, new Uint8Array(512))
      await new Promise((resolve) => setTimeout(resolve, 20))
      ftruncateSync(fd, PAGE)
      guest.kick(0)
      await guest.front.closedByPeer()
      expect(served.log).toContain('connection ended: a file of guest memory has become shorter')
      guest.close()
      unlinkSync(path)
      await servesAnother(served)
      await served.close()
    }))

  test('unsealed memory is refused where only sealed is wanted', () =>
    hostile(
      async (front, { socket }) => {
        const path = join(socket, '..', 'ram')
        const fd = openSync(path, 'w+')
        ftruncateSync(fd, 0x10000)
        const payload = encodeMemoryRegion(region())
        expect(await front.tell(m.VHOST_USER_ADD_MEM_REG, { payload, fds: [fd] })).toBe(false)
        closeSync(fd)
        unlinkSync(path)
      },
      { requireSealed: true },
    ))
})

describe('U03: bodies and headers', () => {
  test('payloads that are too short are refused, longer ones are as good', () =>
    hostile(async (front) => {
      for (const request of [2, 5, 8, 9, 10, 12, 13, 14, 18, 25, 32, 35, 37, 38, 39]) {
        expect(await front.tell(request, { payload: new Uint8Array(3) }), m.messageName(request)).toBe(false)
      }
      const long = new Uint8Array(100)
      long.set(state(0, 32))
      expect(await front.tell(m.VHOST_USER_SET_VRING_NUM, { payload: long })).toBe(true)
      expect((await front.ask(m.VHOST_USER_GET_FEATURES, { payload: long })).payload).toHaveLength(100)
    }))

  test('unknown messages are answered where an answer is wanted', () =>
    hostile(async (front) => {
      front.say(12345)
      expect(await front.tell(12345)).toBe(false)
      expect(await front.tell(m.VHOST_USER_SET_LOG_BASE, { payload: new Uint8Array(16) })).toBe(false)
      expect(await front.tell(m.VHOST_USER_IOTLB_MSG, { payload: new Uint8Array(40) })).toBe(false)
    }))

  const raw: [string, number[]][] = [
    ['version 0', [1, 0, 0]],
    ['version 3', [1, 3, 0]],
    ['a payload of 4 GiB', [1, 1, 0xffff_ffff]],
    ['an answer', [1, 5, 0]],
  ]
  test.each(raw)('%s ends the connection', (_name, words) =>
    hostile(async (front) => {
      front.sendRaw(new Uint8Array(new Uint32Array(words).buffer))
      await front.closedByPeer()
    }),
  )

  test('in-band notifications without their channel end the connection', () =>
    hostile(
      async (front) => {
        front.say(m.VHOST_USER_SET_PROTOCOL_FEATURES, { payload: encodeU64(1 << 14) })
        await front.closedByPeer()
      },
      { inbandNotifications: true },
    ))

  test('features that were not offered are refused; a legacy driver ends the connection', () =>
    hostile(async (front, { log }) => {
      expect(await front.tellNumber(m.VHOST_USER_SET_PROTOCOL_FEATURES, 1n << 40n)).toBe(false)
      expect(await front.tellNumber(m.VHOST_USER_SET_FEATURES, 1n << 63n)).toBe(false)
      front.say(m.VHOST_USER_SET_FEATURES, { payload: encodeU64(1n << 30n) }, true)
      await front.closedByPeer()
      expect(log.at(-1)).toMatch(/legacy interface/)
    }))
})

describe('U04: rings', () => {
  test('indices, sizes, bases and addresses that cannot be', () =>
    hostile(async (front) => {
      expect(await agree(front)).toBe(true)
      const fds = [front.own(ipc.createMemory('x', 0x10000))]
      expect(await front.tell(m.VHOST_USER_ADD_MEM_REG, { payload: encodeMemoryRegion(region()), fds })).toBe(true)
      const no = async (request: number, payload: Uint8Array) => {
        expect(await front.tell(request, { payload }), m.messageName(request)).toBe(false)
      }
      for (const index of [1, 255, 0xffff_ffff]) {
        for (const request of [8, 10, 18]) await no(request, state(index, 1))
        await no(m.VHOST_USER_SET_VRING_ADDR, address(index, 0x7000_0000n))
      }
      for (const size of [0, 3, 512, 65536, 0xffff_ffff]) await no(m.VHOST_USER_SET_VRING_NUM, state(0, size))
      await no(m.VHOST_USER_SET_VRING_BASE, state(0, 0x10000))
      await no(m.VHOST_USER_SET_VRING_ENABLE, state(0, 2))
      expect(await front.tell(m.VHOST_USER_SET_VRING_NUM, { payload: state(0, 64) })).toBe(true)
      for (const at of [0n, 0x6fff_ffffn, 0x7000_ff00n, (1n << 64n) - 1n]) {
        await no(m.VHOST_USER_SET_VRING_ADDR, address(0, at))
      }
    }))

  test('enabled before there is anything, and a ring that asks for the impossible stays off', () =>
    hostile(async (front, { server }) => {
      expect(await agree(front)).toBe(true)
      const fds = [front.own(ipc.createMemory('x', 0x10000))]
      expect(await front.tell(m.VHOST_USER_SET_VRING_ENABLE, { payload: state(0, 1) })).toBe(true)
      expect(await front.tell(m.VHOST_USER_SET_VRING_NUM, { payload: state(0, 64) })).toBe(true)
      // The parts overlap: nothing says so before the ring is to start.
      expect(await front.tell(m.VHOST_USER_SET_VRING_ADDR, { payload: address(0, 0x7000_0000n, 0n) })).toBe(true)
      expect(await front.tell(m.VHOST_USER_ADD_MEM_REG, { payload: encodeMemoryRegion(region()), fds })).toBe(true)
      const kick = encodeVringDescriptor({ index: 0, hasDescriptor: true })
      expect(await front.tell(m.VHOST_USER_SET_VRING_KICK, { payload: kick, fds: [front.event()] })).toBe(false)
      expect(server.device.isQueueRunning(0)).toBe(false)
    }))

  test('a ring that runs keeps what it has', () =>
    leavesNothingOpen(async () => {
      const served = await serveDisk()
      const guest = new SharedGuest(ipc)
      await guest.start(served.socket)
      for (const request of [8, 10]) expect(await guest.front.tell(request, { payload: state(0, 4) })).toBe(false)
      expect(await guest.front.tell(m.VHOST_USER_SET_VRING_ADDR, { payload: address(0, 0x7000_0000n) })).toBe(false)
      expect(await guest.front.tellNumber(m.VHOST_USER_SET_FEATURES, (1n << 32n) | (1n << 30n))).toBe(false)
      await guest.disks[0]?.write(0, new Uint8Array(512))
      guest.close()
      await served.close()
    }))
})

describe('U05: records of requests in flight', () => {
  test('of no size, of too little memory, and of memory that could shrink', () =>
    hostile(async (front, { socket }) => {
      for (const [queues, queueSize] of [
        [0, 64],
        [1, 0],
        [9, 64],
        [1, 65535],
      ] as const) {
        const wish = encodeInflight({ mmapSize: 0n, mmapOffset: 0n, queues, queueSize })
        const { payload, fds } = await front.ask(m.VHOST_USER_GET_INFLIGHT_FD, { payload: wish })
        expect([...payload].every((byte) => byte === 0)).toBe(true)
        expect(fds).toEqual([])
      }
      const memory = front.own(ipc.createMemory('x', PAGE))
      const set = (mmapSize: bigint, mmapOffset: bigint, queues: number, queueSize: number, fd = memory) =>
        front.tell(m.VHOST_USER_SET_INFLIGHT_FD, {
          payload: encodeInflight({ mmapSize, mmapOffset, queues, queueSize }),
          fds: [fd],
        })
      expect(await set(4096n, 0n, 0, 64)).toBe(false)
      expect(await set(4096n, 0n, 1, 0)).toBe(false)
      expect(await set(64n, 0n, 1, 64)).toBe(false)
      expect(await set(1n << 60n, 0n, 1, 1024)).toBe(false)
      expect(await set(4096n, 4096n, 1, 64)).toBe(false)
      expect(await set(4096n, (1n << 64n) - 4096n, 1, 64)).toBe(false)
      expect(await set(4096n, 0n, 1, 64, front.event())).toBe(false)
      const path = join(socket, '..', 'record')
      const file = openSync(path, 'w+')
      ftruncateSync(file, PAGE)
      expect(await set(4096n, 0n, 1, 64, file)).toBe(false)
      closeSync(file)
      unlinkSync(path)
      expect(await set(4096n, 0n, 1, 64)).toBe(true)
    }))
})

describe('U06: configuration', () => {
  test('reads outside the space have an empty answer', () =>
    hostile(async (front) => {
      for (const [offset, size] of [
        [0xffff_ffff, 4],
        [0, 0],
        [0, 257],
        [250, 10],
      ] as const) {
        const payload = new Uint8Array(12 + 300)
        new DataView(payload.buffer).setUint32(0, offset, true)
        new DataView(payload.buffer).setUint32(4, size, true)
        expect((await front.ask(m.VHOST_USER_GET_CONFIG, { payload })).payload).toHaveLength(0)
        expect(await front.tell(m.VHOST_USER_SET_CONFIG, { payload })).toBe(false)
      }
    }))
})

describe('U07: memory replaced while requests run', () => {
  test.each([false, true])('rings stop, requests end, the ring goes on in the new memory; packed %s', (packed) =>
    leavesNothingOpen(async () => {
      const served = await serveDisk()
      const guest = new SharedGuest(ipc, { slots: false, packed })
      await guest.start(served.socket)
      const jobs = Array.from({ length: 200 }, async (_, i) => {
        const data = new Uint8Array(4096).fill(i + 1)
        await guest.disks[0]?.write(i * 4096, data)
        const got = new Uint8Array(4096)
        await guest.disks[0]?.read(i * 4096, got)
        expect(Buffer.compare(got, data)).toBe(0)
      })
      // The same memory mapped anew, again and again.
      for (let i = 0; i < 20; i++) await guest.shareMemory()
      for (const job of jobs) await job
      expect(served.log).toEqual([])
      guest.close()
      await served.close()
    }),
  )

  test('a ring that is not in the new memory stays off', () =>
    leavesNothingOpen(async () => {
      const served = await serveDisk()
      const guest = new SharedGuest(ipc, { slots: false })
      await guest.start(served.socket)
      const payload = encodeMemoryTable([region()])
      const fd = guest.front.own(ipc.createMemory('other', 0x10000))
      expect(await guest.front.tell(m.VHOST_USER_SET_MEM_TABLE, { payload, fds: [fd] })).toBe(true)
      expect(served.server.device.isQueueRunning(0)).toBe(false)
      guest.close()
      await served.close()
    }))
})

describe('U08: a front-end that goes away', () => {
  test.each([false, true])('in the middle of requests, and another that goes on; packed %s', (packed) =>
    leavesNothingOpen(async () => {
      const served = await serveDisk()
      const guest = new SharedGuest(ipc, { packed })
      await guest.start(served.socket)
      for (let round = 0; round < 10; round++) {
        const jobs = Array.from({ length: 60 }, (_, i) =>
          guest.disks[0]?.write(i * 512, new Uint8Array(512).fill(round + i)),
        )
        await Promise.resolve()
        guest.disconnect()
        await guest.reconnect(served.socket, 0)
        for (const job of jobs) await job
        const got = new Uint8Array(512)
        await guest.disks[0]?.read(59 * 512, got)
        expect(got[0]).toBe(round + 59)
      }
      guest.close()
      await served.close()
    }),
  )
})

describe('U09: kick descriptors', () => {
  test('a file, a pipe that is full, a pipe that is closed: an error of that ring', () =>
    hostile(async (front) => {
      expect(await agree(front)).toBe(true)
      const fds = [front.own(ipc.createMemory('x', 0x10000))]
      expect(await front.tell(m.VHOST_USER_ADD_MEM_REG, { payload: encodeMemoryRegion(region()), fds })).toBe(true)
      expect(await front.tell(m.VHOST_USER_SET_VRING_NUM, { payload: state(0, 64) })).toBe(true)
      expect(await front.tell(m.VHOST_USER_SET_VRING_ADDR, { payload: address(0, 0x7000_0000n) })).toBe(true)
      const ring = encodeVringDescriptor({ index: 0, hasDescriptor: true })
      const error = front.event()
      expect(await front.tell(m.VHOST_USER_SET_VRING_ERR, { payload: ring, fds: [error] })).toBe(true)
      expect(await front.tell(m.VHOST_USER_SET_VRING_ENABLE, { payload: state(0, 1) })).toBe(true)
      expect(await front.tell(m.VHOST_USER_SET_VRING_KICK, { payload: ring, fds })).toBe(false)
      const [kept, given] = ipc.socketPair()
      front.own(kept)
      expect(await front.tell(m.VHOST_USER_SET_VRING_KICK, { payload: ring, fds: [given] })).toBe(true)
      ipc.close(given)
      expect(ipc.takeSignals(error)).toBe(false)
      // Closed at the other end: it would be readable for ever.
      front.release(kept)
      await untilTrue(() => ipc.takeSignals(error))
    }))

  test('a call descriptor that is full or gone disturbs nobody', () =>
    leavesNothingOpen(async () => {
      const served = await serveDisk()
      const guest = new SharedGuest(ipc)
      await guest.start(served.socket)
      const [kept, given] = ipc.socketPair()
      const ring = encodeVringDescriptor({ index: 0, hasDescriptor: true })
      expect(await guest.front.tell(m.VHOST_USER_SET_VRING_CALL, { payload: ring, fds: [given] })).toBe(true)
      while (ipc.send(given, new Uint8Array(65536), []) !== undefined) {
        // Until it is full.
      }
      ipc.close(given)
      const write = guest.disks[0]?.write(0, new Uint8Array(512))
      await new Promise((resolve) => setTimeout(resolve, 20))
      ipc.close(kept)
      const other = guest.disks[0]?.write(512, new Uint8Array(512))
      await new Promise((resolve) => setTimeout(resolve, 20))
      guest.disks[0]?.notified()
      await write
      await other
      guest.close()
      await served.close()
    }))
})

function state(index: number, num: number): Uint8Array {
  return encodeVringState({ index, num })
}

/** Parts `step` bytes apart. */
function address(index: number, at: bigint, step = 0x1000n): Uint8Array {
  return encodeVringAddress({ index, flags: 0, descriptor: at, available: at + step, used: at + 2n * step, log: 0n })
}

function agree(front: FrontEnd): Promise<boolean> {
  return front.tellNumber(m.VHOST_USER_SET_FEATURES, (1n << 32n) | (1n << 30n))
}

async function untilTrue(condition: () => boolean): Promise<void> {
  for (let i = 0; i < 1000; i++) {
    if (condition()) return
    await new Promise((resolve) => setTimeout(resolve, 2))
  }
  throw new Error('it never came')
}
