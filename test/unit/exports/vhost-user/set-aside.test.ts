// Requests that the `stop` policy has set aside while their ring stops: kept where somebody keeps them until it goes on, and
// answered with their error where nobody does. The driver's queue throws where a request comes back that it does not have.

import { beforeAll, describe, expect, test } from 'vitest'
import { BlockError } from '../../../../src/common/error.js'
import type { HostIpc } from '../../../../src/common/host-ipc.js'
import { copyBytes } from '../../../../src/common/io-vector.js'
import { Negotiation } from '../../../../src/exports/vhost-user/negotiation.js'
import { defineDriver } from '../../../../src/global-state/driver.js'
import { loadHostIpc } from '../../../../src/platform/native/host-ipc.js'
import { nodeDrivers, openDisk } from '../../../../src/platform/open-disk.js'
import * as m from '../../../../src/protocols/vhost-user/messages.js'
import { state, untilTrue } from '../../../support/vhost-user/hostile.js'
import { leavesNothingOpen, type ServedDisk, serveDisk } from '../../../support/vhost-user/served-disk.js'
import { SharedGuest, type SharedGuestOptions } from '../../../support/vhost-user/shared-guest.js'

const PARKED = 8192
const both = [{ packed: false }, { packed: true }]

let ipc: HostIpc
/** Whether the disk has no space for writes at PARKED. */
let full = false

beforeAll(async () => {
  ipc = await loadHostIpc()
})

const brim = defineDriver({
  name: 'brim',
  kind: 'protocol',
  options: {},
  open: () => {
    const data = new Uint8Array(1 << 20)
    return {
      state: data,
      io: {
        length: () => data.length,
        read: (offset, into) => copyBytes(into, data.subarray(offset, offset + into.length)),
        write(offset, from) {
          if (full && offset === PARKED) throw new BlockError('ENOSPC', 'the disk is full')
          copyBytes(data, from, offset)
        },
        flush: () => {},
      },
    }
  },
})

interface World {
  guest: SharedGuest
  served: ServedDisk
  /** How the write that was set aside ended. */
  outcome(): string | undefined
}

/** A guest whose write of 1s at PARKED was set aside, and that has done others before and since. */
function withOneSetAside(options: SharedGuestOptions, act: (world: World) => Promise<void>): Promise<void> {
  return leavesNothingOpen(async () => {
    const disk = await openDisk({ driver: 'brim' }, { graphOptions: { drivers: [...nodeDrivers, brim] } })
    disk.backend.root.onWriteError = 'enospc'
    const served = await serveDisk({}, disk)
    const guest = new SharedGuest(ipc, { slots: false, ...options })
    await guest.start(served.socket)
    full = true
    await works(guest)
    let outcome: string | undefined
    guest.disks[0]?.write(PARKED, new Uint8Array(512).fill(1)).then(
      () => {
        outcome = 'done'
      },
      (error: BlockError) => {
        outcome = error.code
      },
    )
    await untilTrue(() => served.server.device.parkedRequests === 1)
    await works(guest)
    try {
      await act({ guest, served, outcome: () => outcome })
    } finally {
      guest.close()
      await served.close()
    }
  })
}

async function works(guest: SharedGuest): Promise<void> {
  const data = new Uint8Array(512).fill(3)
  const got = new Uint8Array(512)
  for (let i = 0; i < 3; i++) await guest.disks[0]?.write(512, data)
  await guest.disks[0]?.read(512, got)
  expect(got).toEqual(data)
}

/** The write has been done, once, and the ring goes on. */
async function isDone({ guest, outcome }: World): Promise<void> {
  await untilTrue(() => outcome() !== undefined)
  expect(outcome()).toBe('done')
  const got = new Uint8Array(512)
  await guest.disks[0]?.read(PARKED, got)
  expect(got[0]).toBe(1)
  await works(guest)
}

describe.each(both)('with a record of requests in flight; packed $packed', ({ packed }) => {
  test('a base that is asked for leaves them in it: they are done when the ring goes on there', () =>
    withOneSetAside({ packed }, async (world) => {
      const { guest, served } = world
      const base = await guest.stopRings()
      expect([world.outcome(), guest.recorded(), served.server.device.parkedRequests]).toEqual([undefined, 1, 0])
      full = false
      await guest.startRings(base)
      await isDone(world)
      expect(guest.recorded()).toBe(0)
    }))

  test('a ring that is disabled and enabled again does them again, and sets them aside again', () =>
    withOneSetAside({ packed }, async (world) => {
      const { guest, served } = world
      expect(await guest.front.tell(m.VHOST_USER_SET_VRING_ENABLE, { payload: state(0, 0) })).toBe(true)
      expect(served.server.device.parkedRequests).toBe(0)
      expect(await guest.front.tell(m.VHOST_USER_SET_VRING_ENABLE, { payload: state(0, 1) })).toBe(true)
      await untilTrue(() => served.server.device.parkedRequests === 1)
      full = false
      served.server.device.resume()
      await isDone(world)
    }))

  test('a front-end that is gone brings them back', () =>
    withOneSetAside({ packed }, async (world) => {
      const { guest, served } = world
      guest.disconnect()
      await untilTrue(() => !served.server.connected)
      expect([world.outcome(), guest.recorded(), served.server.device.parkedRequests]).toEqual([undefined, 1, 0])
      full = false
      await guest.reconnect(served.socket)
      await isDone(world)
    }))

  test('a driver that begins anew has none, and none is in the record', () =>
    withOneSetAside({ packed }, async ({ guest, served }) => {
      await guest.stopRings()
      expect(guest.recorded()).toBe(1)
      guest.redrive()
      await guest.startRing(0)
      expect(await guest.front.tell(m.VHOST_USER_SET_VRING_ENABLE, { payload: state(0, 1) })).toBe(true)
      await works(guest)
      expect([guest.recorded(), served.server.device.parkedRequests]).toEqual([0, 0])
    }))

  test('a device that is reset has none', () =>
    withOneSetAside({ packed }, async ({ guest, served, outcome }) => {
      expect(await guest.front.tell(m.VHOST_USER_RESET_DEVICE)).toBe(true)
      await untilTrue(() => outcome() === 'EIO')
      expect([guest.recorded(), served.server.device.parkedRequests]).toEqual([0, 0])
      guest.redrive()
      await guest.startRings()
      await works(guest)
    }))
})

describe.each(both)('without a record; packed $packed', ({ packed }) => {
  test('they outlive memory that is replaced', () =>
    withOneSetAside({ packed, inflight: false }, async (world) => {
      const { guest, served } = world
      for (let i = 0; i < 3; i++) {
        await guest.shareMemory()
        await untilTrue(() => served.server.device.parkedRequests === 1)
        await works(guest)
      }
      expect(world.outcome()).toBeUndefined()
      full = false
      await guest.shareMemory()
      await isDone(world)
    }))

  test('a base that is asked for means that they are answered: nobody would know of them', () =>
    withOneSetAside({ packed, inflight: false }, async ({ guest, served, outcome }) => {
      const base = await guest.stopRings()
      await untilTrue(() => outcome() === 'EIO')
      expect(served.server.device.parkedRequests).toBe(0)
      await guest.startRings(base)
      await works(guest)
    }))

  test('so does the end of the connection', () =>
    withOneSetAside({ packed, inflight: false }, async ({ guest, outcome }) => {
      guest.disconnect()
      await untilTrue(() => outcome() === 'EIO')
    }))
})

test('a record goes where its rings go if that was agreed, or if the guest cannot go anywhere', () =>
  leavesNothingOpen(async () => {
    const served = await serveDisk()
    const agreed = new Negotiation(served.server.device, { inbandNotifications: false, xenMappings: false })
    const bit = (index: number) => 1n << BigInt(index)
    const record = bit(m.VHOST_USER_PROTOCOL_F_INFLIGHT_SHMFD)
    const left = bit(m.VHOST_USER_PROTOCOL_F_GET_VRING_BASE_INFLIGHT)
    const travels = (protocol: bigint) => {
      agreed.protocol = protocol
      return agreed.recordTravels
    }
    const log = bit(m.VHOST_USER_PROTOCOL_F_LOG_SHMFD)
    expect([record, record | log, record | log | left].map(travels)).toEqual([true, false, true])
    // Requests can be left in a record only.
    expect(() => agreed.setProtocol(left)).toThrow(expect.objectContaining({ code: 'EINVAL' }))
    agreed.setProtocol(left | record)
    expect(agreed.protocol).toBe(left | record)
    await served.close()
  }))
