// Devices before drivers of bad faith: whatever the rings and requests say, and however memory changes while the device
// looks, the end is success, an error of that one request, or one plea for a reset, after which 100 good requests work.
// Never an exception, a spin or a wedge. A failure prints its number, which alone makes the driver.

import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { VirtioBlkDevice } from '../../../src/devices/virtio/blk/virtio-blk.js'
import { createDriverQueue } from '../../../src/devices/virtio/driver-queue/create-driver-queue.js'
import { planQueue } from '../../../src/devices/virtio/driver-queue/queue-plan.js'
import { VirtioRngDevice } from '../../../src/devices/virtio/rng/virtio-rng.js'
import { VirtioScsiDevice } from '../../../src/devices/virtio/scsi/virtio-scsi.js'
import { encodeBlkHeader } from '../../../src/protocols/virtio/blk.js'
import { encodeScsiAddress } from '../../../src/protocols/virtio/scsi.js'
import { type RandomBelow, seededRandom } from '../../../src/testing/crash/seeded-random.js'
import { GuestBlkDriver } from '../../../src/testing/virtio/guest-blk-driver.js'
import { FlatDisk } from '../../support/flat-disk.js'
import { BUFFERS, HEADERS, HostileGuest, type HostileSubject } from '../../support/hostile-guest.js'

const SECTORS = 64
const guest = new HostileGuest()

beforeAll(() => guest.hook())
afterAll(() => guest.unhook())

function quietDisk(): FlatDisk {
  const disk = new FlatDisk(SECTORS * 512, guest.clock)
  disk.record = false
  return disk
}

function releaseHeld(disks: FlatDisk[], random: RandomBelow): void {
  for (const disk of disks) {
    for (const held of disk.held?.splice(0, 1 + random(3)) ?? []) held.settle()
  }
}

/** Half of the runs have a disk that answers later. */
function hold(disks: FlatDisk[], random: RandomBelow): void {
  for (const disk of disks) disk.held = random(2) === 0 ? [] : undefined
}

const notifier = { notifyQueue: () => {}, notifyConfig: () => void guest.configNotifications++ }
const shared = { clock: guest.clock, memory: guest.memory, notifier, inOrder: true, queueSize: 16 }

function blkSubject(): HostileSubject {
  const disk = quietDisk()
  const device = new VirtioBlkDevice({ ...shared, root: disk.root, queues: 2, secureErase: true })
  const driver = new GuestBlkDriver({ device, memory: guest.memory, address: 0x1000 })
  return {
    device,
    queues: 2,
    header(view, at, random) {
      const type =
        random(10) === 0 ? random(0x1_0000) : ([0, 0, 0, 1, 1, 1, 4, 8, 10, 11, 13, 14][random(12)] as number)
      const far = random(10) === 0
      const sectorHigh = far ? random(0x7fff_ffff) : 0
      encodeBlkHeader(view, at, { type, sectorHigh, sectorLow: random(far ? 0x7fff_ffff : SECTORS + 2) })
      for (let word = 16; word < 64; word += 4) view.setUint32(at + word, random(4) === 0 ? random(SECTORS) : 0, true)
      hold([disk], random)
      return random(16) === 0 ? random(64) : [1, 2, 3].includes(type) ? 16 : 16 + 16 * random(3)
    },
    busy: () => disk.root.busy(),
    release: (random) => releaseHeld([disk], random),
    async works() {
      disk.held = undefined
      driver.initialise()
      let good = 0
      for (let i = 0; i < 100; i += 5) {
        for (let j = 0; j < 5; j++) {
          if ((i & 1) === 0) driver.submitWrite((i + j) % SECTORS, BUFFERS, 512)
          else driver.submitRead((i + j) % SECTORS, BUFFERS, 512)
        }
        driver.kick()
        await guest.finish(this, seededRandom(1))
        driver.poll((_head, status) => {
          if (status === 0) good++
        })
      }
      driver.reset()
      return good === 100 && device.readStatus() === 0
    },
  }
}

const CDBS = [
  0x00, 0x03, 0x08, 0x0a, 0x12, 0x1a, 0x25, 0x28, 0x2a, 0x35, 0x41, 0x42, 0x5a, 0x88, 0x8a, 0x93, 0x9e, 0xa0, 0xa8,
]
const PLAIN = { packed: false, indirect: false, eventIndex: false, inOrder: false }

function scsiSubject(): HostileSubject {
  const disks = [quietDisk(), quietDisk()]
  const device = new VirtioScsiDevice(shared)
  for (const [lun, disk] of disks.entries()) device.attachDisk({ root: disk.root, lun })
  const plan = planQueue(0x3000, 16)

  function writeCommand(view: DataView, at: number, lun: number, cdb: number[]): void {
    for (let i = 0; i < 0x80; i++) view.setUint8(at + i, 0)
    encodeScsiAddress(guest.ram, at, 0, lun)
    guest.ram.set(cdb, at + 19)
  }

  return {
    device,
    queues: 3,
    header(view, at, random) {
      hold(disks, random)
      if (random(4) === 0) {
        // A request of the control queue, or a command to nobody.
        for (let word = 0; word < 24; word += 4) view.setUint32(at + word, random(2) === 0 ? random(10) : 0, true)
        encodeScsiAddress(guest.ram, at + 8, 0, random(3))
        return random(8) === 0 ? random(24) : 24
      }
      const cdb = Array.from({ length: 16 }, () => (random(3) === 0 ? random(256) : 0))
      cdb[0] = random(16) === 0 ? random(256) : (CDBS[random(CDBS.length)] as number)
      writeCommand(view, at, random(3), cdb)
      return random(16) === 0 ? random(64) : 51
    },
    busy: () => disks.some((disk) => disk.root.busy()),
    release: (random) => releaseHeld(disks, random),
    async works() {
      for (const disk of disks) disk.held = undefined
      guest.start(device, () => 0)
      const queue = createDriverQueue(guest.memory, plan, PLAIN)
      device.enableQueue(2, plan.config)
      device.writeStatus(15)
      let good = 0
      const headers = [0, 1, 2].map((slot) => HEADERS + 0x200 * slot)
      for (let i = 0; i < 102; i += 3) {
        // The first command to each disk is told of the reset.
        const heads = headers.map((at, slot) => {
          writeCommand(guest.view, at, (i + slot) & 1, [0x28, 0, 0, 0, 0, (i + slot) % SECTORS, 0, 0, 1])
          const head = queue.begin(3)
          queue.append(at, 51, false)
          queue.append(at + 0x100, 108, true)
          queue.append(BUFFERS, 512, true)
          queue.end()
          return head
        })
        queue.publish()
        device.kick(2)
        await guest.finish(this, seededRandom(1))
        for (let head = queue.reap(); head >= 0; head = queue.reap()) {
          const slot = heads.indexOf(head)
          if (guest.ram[HEADERS + 0x200 * slot + 0x10a] === (i + slot < 2 ? 2 : 0)) good++
        }
      }
      device.writeStatus(0)
      return good === 102
    },
  }
}

function rngSubject(): HostileSubject {
  let waiting: (() => void)[] = []
  let later = false
  const device = new VirtioRngDevice({
    ...shared,
    entropy: (count) => {
      const bytes = new Uint8Array(count).fill(7)
      return later ? new Promise((resolve) => waiting.push(() => resolve(bytes))) : bytes
    },
  })
  const plan = planQueue(0x1000, 16)
  return {
    device,
    queues: 1,
    header(_view, _at, random) {
      later = random(2) === 0
      return random(16)
    },
    busy: () => waiting.length > 0,
    release: () => {
      for (const give of waiting.splice(0)) give()
    },
    async works() {
      later = false
      waiting = []
      guest.start(device, () => 0)
      const queue = createDriverQueue(guest.memory, plan, PLAIN)
      device.enableQueue(0, plan.config)
      device.writeStatus(15)
      let good = 0
      for (let i = 0; i < 100; i++) {
        queue.begin(1)
        queue.append(BUFFERS, 1 + i, true)
        queue.end()
        queue.publish()
        device.kick(0)
        if (queue.reap() >= 0 && queue.usedLength === 1 + i) good++
      }
      device.writeStatus(0)
      return good === 100
    },
  }
}

describe('hostile drivers, half of them changing memory at each access', () => {
  test.each([
    ['virtio-blk', blkSubject, 45_000],
    ['virtio-scsi', scsiSubject, 10_000],
    ['virtio-rng', rngSubject, 5_000],
  ] as const)(
    'of %s',
    async (_name, make, runs) => {
      const subject = make()
      let broken = 0
      await fc.assert(
        fc.asyncProperty(fc.nat(0x7fff_ffff), async (number) => {
          if (await guest.run(subject, seededRandom(number))) broken++
        }),
        { numRuns: runs },
      )
      // The drivers are neither all good nor all broken.
      expect(broken).toBeGreaterThan(runs / 20)
      expect(broken).toBeLessThan(runs * 0.95)
    },
    240_000,
  )
})
