// A stock kernel in QEMU with vhost-user-blk-pci on our back-end. Two boots share four disks, so that each format meets each
// kind of ring with one queue and with four; the second boot reads back what the first has written, then writes more.
// Loads are small: without help of the processor this guest runs twenty times slower than the host.

import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { VIRTIO_BLK_F_CONFIG_WCE, VIRTIO_BLK_F_MQ, VIRTIO_F_VERSION_1 } from '../../src/protocols/virtio/features.js'
import { type BackendProcess, ourBackend } from '../support/guest/backend-process.js'
import { readAttributes, setCache } from '../support/guest/disk-attributes.js'
import { checksum, discardWork, fileSystemWork, flushes, randomWritesCommand } from '../support/guest/disk-work.js'
import type { Guest } from '../support/guest/guest.js'
import { GuestLab, needQemu } from '../support/guest/guest-lab.js'
import { hostChecksum } from '../support/guest/host-view.js'

const MIB = 2 ** 20
const DISK_MIB = 24
const FILES = { at: 0, length: 16 }
const RANDOM = { at: 16, length: 4 }
const DISCARDED = { at: 20, length: 4 }
const CPUS = 4
const LIMIT_MS = 180_000
/** virtio 1.2, 6 */
const VIRTIO_F_RING_PACKED = 34

const DISKS = [
  { disk: 'vda', format: 'raw', queues: 1, packed: false },
  { disk: 'vdb', format: 'qcow2', queues: 1, packed: true },
  { disk: 'vdc', format: 'qcow2', queues: 4, packed: false },
  { disk: 'vdd', format: 'raw', queues: 4, packed: true },
] as const

describe('a guest in QEMU', () => {
  let lab: GuestLab
  let guest: Guest
  const backends: BackendProcess[] = []
  const sums = new Map<string, string>()
  beforeAll(() => {
    lab = new GuestLab()
  })
  afterAll(() => lab.close())

  /** Boots a guest on all back-ends; `swapped` gives each disk the other kind of ring. */
  const boot = (swapped: boolean) => {
    const disks = DISKS.map(({ queues, packed }, index) => {
      return { socket: backends[index]?.socket ?? '', queues, packed: packed !== swapped }
    })
    return lab.bootQemu(disks, CPUS)
  }

  test(
    'it boots and finds its disks',
    async () => {
      needQemu()
      for (const { disk, format, queues } of DISKS) {
        backends.push(
          await lab.serve(ourBackend, disk, { format, bytes: DISK_MIB * MIB, queues, serial: `serial-${disk}` }),
        )
      }
      guest = await boot(false)
      expect(await guest.check('ls -1 /sys/block')).toBe('vda\nvdb\nvdc\nvdd')
    },
    LIMIT_MS,
  )

  test.each(DISKS)('$format, $queues queues, packed $packed: its attributes', async ({ disk, queues, packed }) => {
    needQemu()
    const attributes = await readAttributes(guest, disk)
    const wanted = { bytes: DISK_MIB * MIB, readOnly: false, serial: `serial-${disk}`, queues, logicalBlockSize: 512 }
    expect(attributes).toMatchObject(wanted)
    expect(attributes.physicalBlockSize % 512).toBe(0)
    expect(attributes.discardMaxBytes).toBeGreaterThanOrEqual(MIB)
    expect(attributes.writeZeroesMaxBytes).toBeGreaterThanOrEqual(MIB)
    expect(attributes.features).toContain(VIRTIO_F_VERSION_1)
    expect(attributes.features).toContain(VIRTIO_BLK_F_CONFIG_WCE)
    expect(attributes.features.has(VIRTIO_BLK_F_MQ)).toBe(queues > 1)
    expect(attributes.features.has(VIRTIO_F_RING_PACKED)).toBe(packed)
    expect(await setCache(guest, disk, 'write through')).toBe('write through')
    expect(await setCache(guest, disk, 'write back')).toBe('write back')
  })

  test.each(DISKS)(
    '$format, $queues queues, packed $packed: a file system, random writes in flight, discards and zeroes',
    async ({ disk, queues }) => {
      needQemu()
      await fileSystemWork(guest, { disk, ...FILES }, '/modules')
      await guest.check(randomWritesCommand({ disk, ...RANDOM }, { depth: 16, jobs: queues, seed: 1 }), LIMIT_MS)
      await discardWork(guest, { disk, ...DISCARDED })
      expect(await flushes(guest, disk)).toBeGreaterThan(5)
      sums.set(disk, await checksum(guest, { disk, at: 0, length: DISK_MIB }))
    },
    LIMIT_MS,
  )

  test(
    'a second boot, each disk with the other kind of ring',
    async () => {
      needQemu()
      expect(await guest.check('dmesg | grep -ci "i/o error"; true')).toBe('0')
      await guest.powerOff()
      guest = await boot(true)
      for (const { disk, packed } of DISKS) {
        expect((await readAttributes(guest, disk)).features.has(VIRTIO_F_RING_PACKED)).toBe(!packed)
      }
    },
    LIMIT_MS,
  )

  test.each(DISKS)(
    '$format, $queues queues, packed no longer $packed: everything is read back, and more written',
    async ({ disk, queues }) => {
      needQemu()
      expect(await checksum(guest, { disk, at: 0, length: DISK_MIB })).toBe(sums.get(disk))
      await guest.check(`mount -o ro -t ext4 /dev/${disk} /mnt && ls /mnt/copy && umount /mnt`)
      await guest.check(randomWritesCommand({ disk, ...RANDOM }, { depth: 16, jobs: queues, seed: 2 }), LIMIT_MS)
      sums.set(disk, await checksum(guest, { disk, at: 0, length: DISK_MIB }))
    },
    LIMIT_MS,
  )

  test(
    'the host finds the same in the images',
    async () => {
      needQemu()
      expect(await guest.check('dmesg | grep -ci "i/o error"; true')).toBe('0')
      await guest.powerOff()
      for (const [index, { disk, format }] of DISKS.entries()) {
        await backends[index]?.stop()
        expect(await hostChecksum({ path: lab.path(disk), format }, lab.folder)).toBe(sums.get(disk))
      }
    },
    LIMIT_MS,
  )
})
