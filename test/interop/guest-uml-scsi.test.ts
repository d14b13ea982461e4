// The real virtio-scsi and sd drivers at native speed: user-mode Linux with the images of one `blockgraph vhost-user-scsi` as
// logical units of a target. Two boots; the second reads everything back.

import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { BackendProcess } from '../support/guest/backend-process.js'
import { checksum, discardWork, fileSystemWork, flushes, randomWritesCommand } from '../support/guest/disk-work.js'
import type { Guest } from '../support/guest/guest.js'
import { GuestLab, needUml } from '../support/guest/guest-lab.js'
import { hostChecksum } from '../support/guest/host-view.js'
import { findScsiDisk, readScsiAttributes } from '../support/guest/scsi-attributes.js'

const MIB = 2 ** 20
const DISK_MIB = 96
const FILES = { at: 0, length: 56 }
const RANDOM = { at: 56, length: 24 }
const DISCARDED = { at: 80, length: 16 }
const READ_ONLY_MIB = 8
const LIMIT_MS = 120_000

const DISKS = [
  { format: 'raw', lun: 0 },
  { format: 'qcow2', lun: 1 },
] as const
const READ_ONLY_LUN = 2

describe('SCSI disks of a guest in user-mode Linux', () => {
  let lab: GuestLab
  let guest: Guest
  let backend: BackendProcess
  /** By LUN. */
  let names: string[]
  const sums: string[] = []
  beforeAll(() => {
    lab = new GuestLab()
  })
  afterAll(() => lab.close())

  const boot = async () => {
    guest = await lab.bootUmlWith([{ socket: backend.socket, kind: 'scsi' }])
    names = []
    for (const lun of [0, 1, READ_ONLY_LUN]) names.push(await findScsiDisk(guest, `0:0:0:${lun}`))
  }
  const ioErrors = () => guest.check("dmesg | grep -ciE 'i/o error|sense key|offline|abort'; true")

  test(
    'it boots and finds its disks',
    async () => {
      needUml()
      const images = DISKS.map(({ format, lun }) => {
        return { path: lab.create(format, format, DISK_MIB * MIB), format, serial: `serial-${lun}` }
      })
      const readOnly = { format: 'raw', serial: 'serial-2', readOnly: true } as const
      backend = await lab.serveScsi(
        [...images, { ...readOnly, path: lab.create('read-only', 'raw', READ_ONLY_MIB * MIB) }],
        2,
      )
      await boot()
      expect([...names].sort()).toEqual(['sda', 'sdb', 'sdc'])
    },
    LIMIT_MS,
  )

  test.each(DISKS)('$format: its attributes', async ({ lun }) => {
    needUml()
    const disk = names[lun] as string
    const attributes = await readScsiAttributes(guest, disk)
    expect(attributes).toMatchObject({
      address: `0:0:0:${lun}`,
      vendor: 'BLKGRAPH',
      product: 'DISK',
      bytes: DISK_MIB * MIB,
      readOnly: false,
      logicalBlockSize: 512,
      serial: `serial-${lun}`,
      cache: 'write back',
      fua: true,
      provisioning: 'unmap',
      queues: 1,
    })
    expect(attributes.name).toMatch(new RegExp(`^t10.BLKGRAPH *DISK *serial-${lun}$`))
    expect(attributes.discardMaxBytes).toBeGreaterThanOrEqual(MIB)
    expect(attributes.writeZeroesMaxBytes).toBeGreaterThanOrEqual(MIB)
  })

  test('a read-only disk says so and takes no write', async () => {
    needUml()
    const wanted = { bytes: READ_ONLY_MIB * MIB, readOnly: true, address: '0:0:0:2', provisioning: 'full' }
    const disk = names[READ_ONLY_LUN] as string
    expect(await readScsiAttributes(guest, disk)).toMatchObject(wanted)
    expect((await guest.run(`echo x > /dev/${disk}`)).status).not.toBe(0)
    await guest.check(`head -c ${READ_ONLY_MIB * MIB} /dev/zero | cmp - /dev/${disk}`)
  })

  test.each(DISKS)(
    '$format: a file system, random writes with many in flight, discards and zeroes',
    async ({ lun }) => {
      needUml()
      const disk = names[lun] as string
      await fileSystemWork(guest, { disk, ...FILES }, '/programs')
      await guest.check(randomWritesCommand({ disk, ...RANDOM }, { depth: 64, jobs: 2, seed: 1 }), LIMIT_MS)
      await discardWork(guest, { disk, ...DISCARDED })
      expect(await flushes(guest, disk)).toBeGreaterThan(10)
    },
    LIMIT_MS,
  )

  test.each(DISKS)(
    '$format: discards by WRITE SAME, zeroes by WRITE SAME that unmaps, and as data',
    async ({ lun }) => {
      needUml()
      const disk = names[lun] as string
      const unit = `/sys/class/scsi_disk/0:0:0:${lun}`
      for (const [provisioning, zeroing] of [
        ['writesame_16', 'writesame_16_unmap'],
        ['writesame_10', 'writesame_10_unmap'],
        ['unmap', 'write'],
      ]) {
        await guest.check(`echo ${provisioning} > ${unit}/provisioning_mode`)
        await guest.check(`echo ${zeroing} > ${unit}/zeroing_mode`)
        await discardWork(guest, { disk, ...DISCARDED })
        // A kernel whose command was refused stops using it.
        expect(await guest.check(`cat ${unit}/provisioning_mode ${unit}/zeroing_mode`)).toBe(
          `${provisioning}\n${zeroing}`,
        )
      }
      await guest.check(`echo writesame > ${unit}/zeroing_mode`)
    },
    LIMIT_MS,
  )

  test(
    'both disks at once',
    async () => {
      needUml()
      const [first, second] = DISKS.map(({ lun }, seed) =>
        randomWritesCommand({ disk: names[lun] as string, ...RANDOM }, { depth: 32, jobs: 1, seed }),
      )
      await guest.check(`${first} & ${second}; status=$?; wait $! && [ $status = 0 ]`, LIMIT_MS)
      for (const { lun } of DISKS) {
        sums.push(await checksum(guest, { disk: names[lun] as string, at: 0, length: DISK_MIB }))
      }
      expect(await ioErrors()).toBe('0')
    },
    LIMIT_MS,
  )

  test(
    'a second boot on the same back-end reads everything back',
    async () => {
      needUml()
      await guest.powerOff()
      await boot()
      for (const { lun } of DISKS) {
        const disk = names[lun] as string
        expect(await checksum(guest, { disk, at: 0, length: DISK_MIB })).toBe(sums[lun])
        await guest.check(
          `mount -o ro -t ext4 /dev/${disk} /mnt && ls /mnt/copy && umount /mnt && e2fsck -fn /dev/${disk}`,
        )
      }
      expect(await ioErrors()).toBe('0')
      await guest.powerOff()
    },
    LIMIT_MS,
  )

  test(
    'the host finds the same in the images',
    async () => {
      needUml()
      await backend.stop()
      for (const { format, lun } of DISKS) {
        expect(await hostChecksum({ path: lab.path(format), format }, lab.folder)).toBe(sums[lun])
      }
    },
    LIMIT_MS,
  )
})
