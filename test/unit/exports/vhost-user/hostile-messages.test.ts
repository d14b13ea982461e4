// Front-ends that break the protocol (threats.md 3.6, U01, U02, U03 and U06): what they send is refused, what was there stays, the next
// front-end is served, and nothing is left open.

import { closeSync, ftruncateSync, mkdtempSync, openSync, rmSync, unlinkSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { beforeAll, describe, expect, test } from 'vitest'
import type { HostIpc } from '../../../../src/common/host-ipc.js'
import { loadHostIpc } from '../../../../src/platform/native/host-ipc.js'
import { encodeMessage } from '../../../../src/protocols/vhost-user/header.js'
import {
  encodeMemoryRegion,
  encodeMemoryTable,
  type MemoryRegionDescription,
} from '../../../../src/protocols/vhost-user/memory-regions.js'
import * as m from '../../../../src/protocols/vhost-user/messages.js'
import { encodeU64, encodeVringDescriptor } from '../../../../src/protocols/vhost-user/payloads.js'
import { hostile, region, servesAnother, state } from '../../../support/vhost-user/hostile.js'
import { leavesNothingOpen, serveDisk } from '../../../support/vhost-user/served-disk.js'
import { SharedGuest } from '../../../support/vhost-user/shared-guest.js'

const PAGE = 4096
let ipc: HostIpc

beforeAll(async () => {
  ipc = await loadHostIpc()
})

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

  test('a table of which one region is bad is refused whole', () =>
    hostile(async (front) => {
      const memory = front.own(ipc.createMemory('x', 0x10000))
      const payload = encodeMemoryTable([region(), region({ guestAddress: 0x100000n, size: 0x20000n })])
      for (let i = 0; i < 3; i++) {
        expect(await front.tell(m.VHOST_USER_SET_MEM_TABLE, { payload, fds: [memory, memory] })).toBe(false)
      }
    }))

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
      expect(log.at(-1)).toMatch(/legacy interface .* disable-legacy=on/)
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
