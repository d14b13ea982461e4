// A stock kernel in QEMU with vhost-user-scsi-pci and vhost-user-rng-pci. The controller's configuration is the front-end's
// here, it starts one queue for its firmware and all of them for the kernel, and every processor has a queue.

import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { serveVhostUserRng, type VhostUserRngServer } from '../../src/platform/vhost-user/serve-rng.js'
import { VIRTIO_F_VERSION_1 } from '../../src/protocols/virtio/features.js'
import { VIRTIO_SCSI_F_CHANGE, VIRTIO_SCSI_F_HOTPLUG } from '../../src/protocols/virtio/scsi.js'
import type { BackendProcess } from '../support/guest/backend-process.js'
import { checksum, discardWork, fileSystemWork, flushes, randomWritesCommand } from '../support/guest/disk-work.js'
import type { Guest } from '../support/guest/guest.js'
import { GuestLab, needQemu } from '../support/guest/guest-lab.js'
import { hostChecksum } from '../support/guest/host-view.js'
import { findScsiDisk, readScsiAttributes } from '../support/guest/scsi-attributes.js'

const MIB = 2 ** 20
const DISK_MIB = 16
const FILES = { at: 0, length: 8 }
const RANDOM = { at: 8, length: 4 }
const DISCARDED = { at: 12, length: 4 }
const CPUS = 2
const LIMIT_MS = 180_000
/** What the source of entropy gives, so that it can be known again. */
const CHANCE = 0xa5

const DISKS = [
  { format: 'raw', lun: 0 },
  { format: 'qcow2', lun: 1 },
] as const

describe('a SCSI controller and a source of entropy of a guest in QEMU', () => {
  let lab: GuestLab
  let guest: Guest
  let backend: BackendProcess
  let rng: VhostUserRngServer
  let given = 0
  /** By LUN. */
  const names: string[] = []
  beforeAll(() => {
    lab = new GuestLab()
  })
  afterAll(async () => {
    await guest?.kill()
    await rng?.close()
    await lab.close()
  })

  test(
    'it boots and finds its disks',
    async () => {
      needQemu()
      const images = DISKS.map(({ format, lun }) => {
        return { path: lab.create(format, format, DISK_MIB * MIB), format, serial: `serial-${lun}` }
      })
      backend = await lab.serveScsi(images, CPUS)
      rng = await serveVhostUserRng({
        socket: lab.path('rng.sock'),
        entropy: (count) => {
          given += count
          return new Uint8Array(count).fill(CHANCE)
        },
      })
      guest = await lab.bootQemu([], CPUS, [
        { kind: 'scsi', socket: backend.socket, queues: CPUS },
        { kind: 'rng', socket: rng.socket },
      ])
      for (const { lun } of DISKS) names.push(await findScsiDisk(guest, `0:0:0:${lun}`))
      expect([...names].sort()).toEqual(['sda', 'sdb'])
      const features = await guest.check('cat /sys/class/scsi_host/host0/device/../features')
      for (const bit of [VIRTIO_F_VERSION_1, VIRTIO_SCSI_F_HOTPLUG, VIRTIO_SCSI_F_CHANGE])
        expect(features[bit]).toBe('1')
    },
    LIMIT_MS,
  )

  test('bytes of the source of entropy', async () => {
    needQemu()
    expect(await guest.check('cat /sys/class/misc/hw_random/rng_current')).toMatch(/^virtio_rng/)
    const before = given
    const bytes = await guest.check("head -c 1000 /dev/hwrng | od -An -v -tx1 | tr -d ' \\n'")
    expect(bytes).toBe(CHANCE.toString(16).repeat(1000))
    expect(given - before).toBeGreaterThan(500)
  })

  test.each(DISKS)(
    '$format: attributes, a file system, random writes in flight, discards and zeroes',
    async ({ lun }) => {
      needQemu()
      const disk = names[lun] as string
      expect(await readScsiAttributes(guest, disk)).toMatchObject({
        address: `0:0:0:${lun}`,
        bytes: DISK_MIB * MIB,
        readOnly: false,
        serial: `serial-${lun}`,
        cache: 'write back',
        queues: CPUS,
      })
      await fileSystemWork(guest, { disk, ...FILES }, '/modules')
      await guest.check(randomWritesCommand({ disk, ...RANDOM }, { depth: 16, jobs: CPUS, seed: 1 }), LIMIT_MS)
      await discardWork(guest, { disk, ...DISCARDED })
      expect(await flushes(guest, disk)).toBeGreaterThan(5)
      expect(await guest.check("dmesg | grep -ciE 'i/o error|sense key|offline'; true")).toBe('0')
    },
    LIMIT_MS,
  )

  test(
    'the host finds the same in the images',
    async () => {
      needQemu()
      const sums: string[] = []
      for (const disk of names) sums.push(await checksum(guest, { disk, at: 0, length: DISK_MIB }))
      await guest.powerOff()
      await backend.stop()
      for (const { format, lun } of DISKS) {
        expect(await hostChecksum({ path: lab.path(format), format }, lab.folder)).toBe(sums[lun])
      }
    },
    LIMIT_MS,
  )
})
