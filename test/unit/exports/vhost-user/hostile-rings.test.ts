// Front-ends that break the protocol (threats.md 3.6, U04, U05 and U07 to U09): what they send is refused, what was there stays, the next
// front-end is served, and nothing is left open.

import { closeSync, ftruncateSync, openSync, unlinkSync } from 'node:fs'
import { join } from 'node:path'
import { beforeAll, describe, expect, test } from 'vitest'
import type { HostIpc } from '../../../../src/common/host-ipc.js'
import { loadHostIpc } from '../../../../src/platform/native/host-ipc.js'
import { encodeMemoryRegion, encodeMemoryTable } from '../../../../src/protocols/vhost-user/memory-regions.js'
import * as m from '../../../../src/protocols/vhost-user/messages.js'
import { encodeVringDescriptor } from '../../../../src/protocols/vhost-user/payloads.js'
import { encodeInflight } from '../../../../src/protocols/vhost-user/shared-area.js'
import { address, agree, hostile, region, state, untilTrue } from '../../../support/vhost-user/hostile.js'
import { leavesNothingOpen, serveDisk } from '../../../support/vhost-user/served-disk.js'
import { SharedGuest } from '../../../support/vhost-user/shared-guest.js'

const PAGE = 4096
let ipc: HostIpc

beforeAll(async () => {
  ipc = await loadHostIpc()
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

describe('U07: memory replaced while requests run', () => {
  test.each([false, true])('rings stop, requests end, the ring goes on in the new memory; packed %s', (packed) =>
    leavesNothingOpen(async () => {
      const served = await serveDisk({}, 'file')
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
      const served = await serveDisk({}, 'file')
      const guest = new SharedGuest(ipc, { packed })
      await guest.start(served.socket)
      for (let round = 0; round < 10; round++) {
        const jobs = Array.from({ length: 60 }, (_, i) =>
          guest.disks[0]?.write(i * 512, new Uint8Array(512).fill(round + i)),
        )
        // Some have reached the device, and none has been seen to end.
        await untilTrue(() => guest.recorded() > 0)
        guest.disconnect()
        await untilTrue(() => !served.server.connected)
        // What was begun has been answered in the ring.
        expect(guest.recorded()).toBe(0)
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
