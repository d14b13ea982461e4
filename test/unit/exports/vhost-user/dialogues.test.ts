// What front-ends do besides reading and writing: stops and resets, statuses, polling, and the manners of Linux's virtio_uml.

import { beforeAll, describe, expect, test } from 'vitest'
import type { HostIpc } from '../../../../src/common/host-ipc.js'
import { loadHostIpc } from '../../../../src/platform/native/host-ipc.js'
import { encodeConfig } from '../../../../src/protocols/vhost-user/config.js'
import * as m from '../../../../src/protocols/vhost-user/messages.js'
import { encodeVringDescriptor } from '../../../../src/protocols/vhost-user/payloads.js'
import { state, untilTrue } from '../../../support/vhost-user/hostile.js'
import { leavesNothingOpen, type ServedDisk, serveDisk } from '../../../support/vhost-user/served-disk.js'
import { SharedGuest, type SharedGuestOptions } from '../../../support/vhost-user/shared-guest.js'

let ipc: HostIpc

beforeAll(async () => {
  ipc = await loadHostIpc()
})

function started(
  act: (guest: SharedGuest, served: ServedDisk) => Promise<void>,
  options: SharedGuestOptions = {},
): Promise<void> {
  return leavesNothingOpen(async () => {
    const served = await serveDisk()
    const guest = new SharedGuest(ipc, options)
    await guest.start(served.socket)
    await act(guest, served)
    guest.close()
    await served.close()
  })
}

async function works(guest: SharedGuest): Promise<void> {
  const data = new Uint8Array(512).fill(3)
  await guest.disks[0]?.write(512, data)
  const got = new Uint8Array(512)
  await guest.disks[0]?.read(512, got)
  expect(got).toEqual(data)
}

describe('what is offered and answered', () => {
  test('features, queues, slots, configuration', () =>
    started(async ({ front }, { server }) => {
      const features = await front.askNumber(m.VHOST_USER_GET_FEATURES)
      expect(features & (1n << 30n)).not.toBe(0n)
      // What is written can be logged for a migration. A single queue cannot be reset over this protocol.
      expect(features & ((1n << 40n) | (1n << 26n))).toBe(1n << 26n)
      expect(await front.askNumber(m.VHOST_USER_GET_PROTOCOL_FEATURES)).toBe(0x11b22bn)
      expect(await front.askNumber(m.VHOST_USER_GET_QUEUE_NUM)).toBe(BigInt(server.device.queueCount))
      expect(await front.askNumber(m.VHOST_USER_GET_MAX_MEM_SLOTS)).toBe(64n)
      // QEMU asks for 57 bytes behind the head of 12, and virtio_uml for each field's end.
      for (const size of [57, 8, 28, 60]) {
        const payload = encodeConfig({ offset: 0, size, flags: 0, data: new Uint8Array(size) })
        expect((await front.ask(m.VHOST_USER_GET_CONFIG, { payload })).payload).toHaveLength(12 + size)
      }
    }))

  test('answers come without asking twice: a question with need_reply has one answer', () =>
    started(async ({ front }) => {
      front.say(m.VHOST_USER_GET_STATUS, {}, true)
      await front.answer(m.VHOST_USER_GET_STATUS)
      expect(await front.askNumber(m.VHOST_USER_GET_QUEUE_NUM)).toBe(1n)
    }))

  test('messages in pieces', () =>
    started(async ({ front }) => {
      const whole = [...new Uint8Array(new Uint32Array([m.VHOST_USER_GET_QUEUE_NUM, 1, 0]).buffer)]
      for (const byte of whole) {
        front.sendRaw(new Uint8Array([byte]))
        await new Promise((resolve) => setImmediate(resolve))
      }
      await front.answer(m.VHOST_USER_GET_QUEUE_NUM)
    }))

  test('the write cache is toggled through the configuration', () =>
    started(async (guest) => {
      const cache = async () => {
        await guest.readConfig()
        return guest.config[32]
      }
      expect(await cache()).toBe(1)
      const payload = encodeConfig({ offset: 32, size: 1, flags: 0, data: new Uint8Array(1) })
      expect(await guest.front.tell(m.VHOST_USER_SET_CONFIG, { payload })).toBe(true)
      expect(await cache()).toBe(0)
      await works(guest)
    }))
})

describe('stops and resets', () => {
  test.each([false, true])('a status of 0 resets, and where a ring stood is still known; packed %s', (packed) =>
    started(
      async (guest, { server }) => {
        await works(guest)
        expect(await guest.front.tellNumber(m.VHOST_USER_SET_STATUS, 15)).toBe(true)
        expect(await guest.front.askNumber(m.VHOST_USER_GET_STATUS)).toBe(15n)
        expect(await guest.front.tellNumber(m.VHOST_USER_SET_STATUS, 0)).toBe(true)
        expect(await guest.front.askNumber(m.VHOST_USER_GET_STATUS)).toBe(0n)
        expect(server.device.isQueueRunning(0)).toBe(false)
        const base = await guest.stopRings()
        expect(base).not.toBe(packed ? 0x8000_8000 : 0)
        await guest.startRings(base)
        await works(guest)
      },
      { packed, slots: false },
    ),
  )

  test('a ring that goes on calls its driver, who may not have been told of the last buffers', () =>
    started(async (guest) => {
      await works(guest)
      const base = await guest.stopRings()
      const before = guest.calls
      await guest.startRing(0, base)
      expect(await guest.front.tell(m.VHOST_USER_SET_VRING_ENABLE, { payload: state(0, 1) })).toBe(true)
      await untilTrue(() => guest.calls > before)
    }))

  test('a device that is reset begins anew', () =>
    started(
      async (guest, { server }) => {
        await works(guest)
        expect(await guest.front.tell(m.VHOST_USER_RESET_DEVICE)).toBe(true)
        expect(server.device.readStatus()).toBe(0)
        guest.redrive()
        await guest.startRings()
        await works(guest)
      },
      { slots: false },
    ))

  test('a driver that breaks the rules is told of by its error event, and may begin anew', () =>
    started(
      async (guest, { server, log }) => {
        const error = guest.front.event()
        const ring = encodeVringDescriptor({ index: 0, hasDescriptor: true })
        expect(await guest.front.tell(m.VHOST_USER_SET_VRING_ERR, { payload: ring, fds: [error] })).toBe(true)
        guest.breakRing()
        guest.kick(0)
        while (server.device.resetReason === undefined) await new Promise((resolve) => setImmediate(resolve))
        expect(ipc.takeSignals(error)).toBe(true)
        expect(log).toHaveLength(1)
        expect(Number(await guest.front.askNumber(m.VHOST_USER_GET_STATUS)) & 64).toBe(64)
        await guest.stopRings()
        guest.redrive()
        await guest.startRings()
        expect(Number(await guest.front.askNumber(m.VHOST_USER_GET_STATUS)) & 64).toBe(0)
        await works(guest)
      },
      { slots: false },
    ))

  test('RESET_OWNER disables the rings', () =>
    started(async (guest, { server }) => {
      expect(await guest.front.tell(m.VHOST_USER_RESET_OWNER)).toBe(true)
      expect(server.device.isQueueRunning(0)).toBe(false)
      expect(await guest.front.tell(m.VHOST_USER_SET_VRING_ENABLE, { payload: state(0, 1) })).toBe(true)
      await works(guest)
    }))
})

describe('kicks', () => {
  test('a ring without a kick descriptor is looked at', () =>
    started(async (guest) => {
      const none = encodeVringDescriptor({ index: 0, hasDescriptor: false })
      expect(await guest.front.tell(m.VHOST_USER_SET_VRING_KICK, { payload: none })).toBe(true)
      for (let i = 0; i < 5; i++) {
        await works(guest)
        await new Promise((resolve) => setTimeout(resolve, 5))
      }
    }))

  test('the kick descriptor of a ring that runs is replaced', () =>
    started(async (guest) => {
      const payload = encodeVringDescriptor({ index: 0, hasDescriptor: true })
      for (let i = 0; i < 5; i++) {
        guest.newKick(0)
        const fds = [guest.kickOf(0)]
        expect(await guest.front.tell(m.VHOST_USER_SET_VRING_KICK, { payload, fds })).toBe(true)
        await works(guest)
      }
    }))
})

test('the call event of a ring that runs is replaced: it tells what the old one may have told nobody', () =>
  started(async (guest) => {
    await works(guest)
    const event = guest.ipc.createEvent()
    const payload = encodeVringDescriptor({ index: 0, hasDescriptor: true })
    expect(await guest.front.tell(m.VHOST_USER_SET_VRING_CALL, { payload, fds: [event] })).toBe(true)
    expect(guest.ipc.takeSignals(event)).toBe(true)
    expect(guest.ipc.takeSignals(event)).toBe(false)
    guest.ipc.close(event)
  }))

describe('as virtio_uml', () => {
  test.each([false, true])('a table of 72 bytes, rings that begin at 0, and no goodbye; packed %s', (packed) =>
    started(
      async (guest, { server }) => {
        for (let life = 0; life < 3; life++) {
          await works(guest)
          expect(await guest.front.tell(m.VHOST_USER_SET_VRING_ENABLE, { payload: state(0, 0) })).toBe(true)
          expect(server.device.isQueueRunning(0)).toBe(false)
          guest.redrive()
          await guest.startRings(0)
        }
      },
      { packed, slots: false, inflight: false, longTable: true, base: 0, protocol: 0x0228n },
    ),
  )
})

test('a front-end without protocol features is served', () =>
  leavesNothingOpen(async () => {
    const served = await serveDisk()
    const guest = new SharedGuest(ipc, { slots: false, inflight: false, protocol: 0n })
    await guest.start(served.socket)
    await works(guest)
    guest.close()
    await served.close()
  }))
