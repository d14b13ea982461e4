// The real virtio-blk driver at native speed: user-mode Linux as the front-end, our back-end, and for comparison QEMU's,
// which shows that what is expected of a disk here is no peculiarity of ours.

import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import {
  VIRTIO_BLK_F_DISCARD,
  VIRTIO_BLK_F_FLUSH,
  VIRTIO_BLK_F_WRITE_ZEROES,
} from '../../src/protocols/virtio/features.js'
import { type BackendKind, type BackendProcess, ourBackend, storageDaemon } from '../support/guest/backend-process.js'
import { readAttributes, setCache } from '../support/guest/disk-attributes.js'
import { checksum, discardWork, fileSystemWork, flushes, randomWritesCommand } from '../support/guest/disk-work.js'
import type { Guest } from '../support/guest/guest.js'
import { GuestLab, needUml } from '../support/guest/guest-lab.js'
import { hostChecksum } from '../support/guest/host-view.js'

const MIB = 2 ** 20
const DISK_MIB = 192
const READ_ONLY_MIB = 8
const LIMIT_MS = 120_000

const DISKS = [
  { disk: 'vda', format: 'raw' },
  { disk: 'vdb', format: 'qcow2' },
] as const

describe.each([ourBackend, storageDaemon])('a guest in user-mode Linux on $name', (kind: BackendKind) => {
  let lab: GuestLab
  let guest: Guest
  let backends: BackendProcess[]
  const sums = new Map<string, string>()
  beforeAll(() => {
    lab = new GuestLab()
  })
  afterAll(() => lab.close())

  test(
    'it boots and finds its disks',
    async () => {
      needUml()
      backends = []
      for (const { disk, format } of DISKS) {
        backends.push(await lab.serve(kind, disk, { format, bytes: DISK_MIB * MIB, queues: 1 }))
      }
      const image = { format: 'raw', bytes: READ_ONLY_MIB * MIB, queues: 1, readOnly: true } as const
      backends.push(await lab.serve(kind, 'vdc', image))
      guest = await lab.bootUml(backends.map(({ socket }) => socket))
      expect(await guest.check('ls -1 /sys/block')).toBe('vda\nvdb\nvdc')
    },
    LIMIT_MS,
  )

  test.each(DISKS)('$format: its attributes', async ({ disk }) => {
    needUml()
    const attributes = await readAttributes(guest, disk)
    expect(attributes).toMatchObject({ bytes: DISK_MIB * MIB, readOnly: false, queues: 1, logicalBlockSize: 512 })
    expect(attributes.discardMaxBytes).toBeGreaterThanOrEqual(MIB)
    expect(attributes.writeZeroesMaxBytes).toBeGreaterThanOrEqual(MIB)
    for (const bit of [VIRTIO_BLK_F_FLUSH, VIRTIO_BLK_F_DISCARD, VIRTIO_BLK_F_WRITE_ZEROES]) {
      expect(attributes.features).toContain(bit)
    }
    expect(await setCache(guest, disk, 'write through')).toBe('write through')
    expect(await setCache(guest, disk, 'write back')).toBe('write back')
  })

  test('a read-only disk says so and takes no write', async () => {
    needUml()
    expect(await readAttributes(guest, 'vdc')).toMatchObject({ bytes: READ_ONLY_MIB * MIB, readOnly: true })
    expect((await guest.run('echo x > /dev/vdc')).status).not.toBe(0)
    await guest.check(`head -c ${READ_ONLY_MIB * MIB} /dev/zero | cmp - /dev/vdc`)
  })

  test.each(DISKS)(
    '$format: a file system, random writes with many in flight, discards and zeroes',
    async ({ disk }) => {
      needUml()
      await fileSystemWork(guest, { disk, at: 0, length: 112 }, '/lib')
      await guest.check(randomWritesCommand({ disk, at: 112, length: 48 }, { depth: 64, jobs: 2, seed: 1 }), LIMIT_MS)
      await discardWork(guest, { disk, at: 160, length: 32 })
      expect(await flushes(guest, disk)).toBeGreaterThan(10)
    },
    LIMIT_MS,
  )

  test(
    'both disks at once',
    async () => {
      needUml()
      const [first, second] = DISKS.map(({ disk }, seed) =>
        randomWritesCommand({ disk, at: 112, length: 32 }, { depth: 32, jobs: 1, seed }),
      )
      await guest.check(`${first} & ${second}; status=$?; wait $! && [ $status = 0 ]`, LIMIT_MS)
      for (const { disk } of DISKS) sums.set(disk, await checksum(guest, { disk, at: 0, length: DISK_MIB }))
      expect(await guest.check('dmesg | grep -ci "i/o error"; true')).toBe('0')
    },
    LIMIT_MS,
  )

  test(
    'a second boot on the same back-ends reads everything back',
    async () => {
      needUml()
      await guest.powerOff()
      guest = await lab.bootUml(backends.map(({ socket }) => socket))
      for (const { disk } of DISKS) {
        expect(await checksum(guest, { disk, at: 0, length: DISK_MIB })).toBe(sums.get(disk))
        await guest.check(
          `mount -o ro -t ext4 /dev/${disk} /mnt && ls /mnt/copy && umount /mnt && e2fsck -fn /dev/${disk}`,
        )
      }
      await guest.powerOff()
    },
    LIMIT_MS,
  )

  test.each(DISKS)(
    '$format: the host finds the same in the image',
    async ({ disk, format }) => {
      needUml()
      await backends[DISKS.findIndex((one) => one.disk === disk)]?.stop()
      expect(await hostChecksum({ path: lab.path(disk), format }, lab.folder)).toBe(sums.get(disk))
    },
    LIMIT_MS,
  )
})
