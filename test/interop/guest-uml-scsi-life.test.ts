// What happens to SCSI disks while a guest runs: they come, go and grow, are reset with commands under way, and fail. The
// controller is in this process, so that the test can do these things to it; the guest is user-mode Linux.

import { createHash } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { withDrained } from '../../src/io/drained.js'
import type { NodeDisk } from '../../src/platform/node-disk.js'
import { openDisk } from '../../src/platform/open-disk.js'
import { serveVhostUserScsi, type VhostUserScsiServer } from '../../src/platform/vhost-user/serve-scsi.js'
import { checksum, randomWritesCommand } from '../support/guest/disk-work.js'
import type { Guest } from '../support/guest/guest.js'
import { GuestLab, needUml } from '../support/guest/guest-lab.js'
import { findScsiDisk, readScsiAttributes } from '../support/guest/scsi-attributes.js'
import { peer } from '../support/peers.js'

const MIB = 2 ** 20
const DISK_MIB = 32
const LIMIT_MS = 120_000
/** Resets a unit by the ioctl SG_SCSI_RESET with SG_SCSI_RESET_DEVICE. */
const reset = (disk: string) =>
  `perl -e 'open(D, "<", "/dev/${disk}") or die; $what = pack("i", 1); ioctl(D, 0x2284, $what) or die'`

/** Linux numbers LUNs from 256 on as their flat form says them (SAM-5, 4.7.7). */
const FLAT = 0x4000

const FAILURES = [
  { code: 'ENOSPC', sector: 8, says: 'critical space allocation error' },
  { code: 'EIO', sector: 16, says: 'I/O error' },
] as const

describe('SCSI disks of a running guest', () => {
  let lab: GuestLab
  let guest: Guest
  let server: VhostUserScsiServer
  let disks: NodeDisk[]
  let plain: string
  let failing: string
  beforeAll(() => {
    lab = new GuestLab(['perl'])
    disks = []
  })
  afterAll(async () => {
    await guest?.kill()
    await server?.close()
    for (const disk of disks) await disk.close()
    await lab.close()
  })

  const open = async (name: string, rules: object[] = []): Promise<NodeDisk> => {
    const filename = lab.create(name, 'raw', DISK_MIB * MIB)
    const raw = { driver: 'raw', file: { driver: 'file', filename } }
    const disk = await openDisk(rules.length === 0 ? raw : { driver: 'blkdebug', image: raw, 'inject-error': rules })
    disks.push(disk)
    return disk
  }

  test(
    'targets are found where they are',
    async () => {
      needUml()
      peer('perl')
      const rules = FAILURES.map(({ code, sector }) => ({ event: 'none', errno: code, sector, iotype: 'write' }))
      const [first, second] = [await open('first'), await open('second', rules)]
      const socket = lab.path('scsi.sock')
      server = await serveVhostUserScsi([first, { disk: second, target: 200, lun: 0 }], { socket })
      guest = await lab.bootUmlWith([{ socket, kind: 'scsi' }])
      plain = await findScsiDisk(guest, '0:0:0:0')
      failing = await findScsiDisk(guest, '0:0:200:0')
      expect([plain, failing].sort()).toEqual(['sda', 'sdb'])
    },
    LIMIT_MS,
  )

  test(
    'a disk comes, is written, and goes',
    async () => {
      needUml()
      const third = await open('third')
      server.device.attachDisk({ root: third.backend.root, lun: 300, serial: 'plugged' })
      expect(await findScsiDisk(guest, `0:0:0:${FLAT + 300}`)).toBe('sdc')
      expect(await readScsiAttributes(guest, 'sdc')).toMatchObject({
        address: `0:0:0:${FLAT + 300}`,
        serial: 'plugged',
      })
      await guest.check(randomWritesCommand({ disk: 'sdc', at: 0, length: 8 }, { depth: 32, jobs: 1, seed: 1 }))
      const sum = await checksum(guest, { disk: 'sdc', at: 0, length: DISK_MIB })
      await server.device.detachDisk(0, 300)
      await until(guest, 'test ! -e /sys/block/sdc')
      const content = await third.read(0, DISK_MIB * MIB)
      expect(`${createHash('md5').update(content).digest('hex')}  -`).toBe(sum)
      server.device.attachDisk({ root: third.backend.root, target: 3, lun: 0 })
      expect(await findScsiDisk(guest, '0:0:3:0')).toBe('sdc')
      expect(await checksum(guest, { disk: 'sdc', at: 0, length: DISK_MIB })).toBe(sum)
    },
    LIMIT_MS,
  )

  test(
    'a disk that is made longer is longer for the guest',
    async () => {
      needUml()
      await disks[2]?.resize(2 * DISK_MIB * MIB)
      await until(guest, `test "$(cat /sys/block/sdc/size)" = ${(2 * DISK_MIB * MIB) / 512}`)
      await guest.check(randomWritesCommand({ disk: 'sdc', at: 60, length: 4 }, { depth: 8, jobs: 1, seed: 1 }))
    },
    LIMIT_MS,
  )

  test(
    'resets with commands under way: each is done in the end, as it should be',
    async () => {
      needUml()
      const load = randomWritesCommand({ disk: plain, at: 0, length: 32 }, { depth: 64, jobs: 1, seed: 5, seconds: 6 })
      await guest.check(`rm -f /tmp/status; (${load} > /tmp/log 2>&1; echo $? > /tmp/status) & true`)
      for (let count = 0; count < 10; count++) await guest.check(reset(plain))
      expect(await guest.check('test -e /tmp/status && cat /tmp/status /tmp/log; true')).toBe('')
      for (let count = 0; count < 10; count++) await guest.check(`sleep 0.1; ${reset(plain)}`)
      expect(await guest.check('wait; cat /tmp/status /tmp/log', LIMIT_MS)).toMatch(/^0\n/)
      expect(await guest.check("dmesg | grep -c 'sd 0:0:0:0:.*reset occurred'")).not.toBe('0')
      expect(await guest.check("dmesg | grep -ciE 'i/o error|offline'; true")).toBe('0')
    },
    LIMIT_MS,
  )

  test(
    'a drained section holds commands back, and a reset of them waits for its end',
    async () => {
      needUml()
      const [first] = disks as [NodeDisk]
      const load = randomWritesCommand({ disk: plain, at: 0, length: 8 }, { depth: 16, jobs: 1, seed: 6 })
      const node = first.backend.node
      if (node === undefined) throw new Error('no disk')
      await withDrained([node], async () => {
        await guest.check(`rm -f /tmp/status; (${load} > /tmp/log 2>&1; echo $? > /tmp/status) & true`)
        await guest.check(`rm -f /tmp/reset; (sleep 0.5; ${reset(plain)}; echo $? > /tmp/reset) & sleep 1`)
        expect(await guest.check('ls /tmp/status /tmp/reset 2>/dev/null; true')).toBe('')
      })
      expect(await guest.check('wait; cat /tmp/reset /tmp/status /tmp/log', LIMIT_MS)).toMatch(/^0\n0\n/)
    },
    LIMIT_MS,
  )

  test.each(FAILURES)(
    'a write that fails by $code is told of as what it is, and others go on',
    async ({ sector, says }) => {
      needUml()
      const write = (at: number) => `dd if=/dev/zero of=/dev/${failing} bs=512 seek=${at} count=1 oflag=direct`
      await guest.check('dmesg -c > /dev/null')
      expect((await guest.run(write(sector))).status).not.toBe(0)
      expect(await guest.check('dmesg')).toMatch(
        new RegExp(`${says}, dev ${failing}, sector ${sector} op 0x1:\\(WRITE\\)`),
      )
      await guest.check(write(sector + 1))
    },
  )

  test('the guest goes, and every disk is free', async () => {
    needUml()
    await guest.powerOff()
    await server.close()
    for (const disk of disks) expect(disk.backend.root.client).toBeUndefined()
  })
})

/** Waits until a condition of the guest holds. */
async function until(guest: Guest, condition: string): Promise<void> {
  await guest.check(`for i in $(seq 100); do if ${condition}; then break; fi; sleep 0.1; done; ${condition}`)
}
