// A guest moves from one QEMU to another while it works on its disks (QEMU's live migration, over a Unix socket). Each side has
// back-ends of its own, which share raw images. Memory is copied while the guest runs, and what our back-end writes into it
// meanwhile is known from the log of written pages alone: data of reads, which the guest checks behind the move; and rings,
// without which it would wait forever.

import { randomBytes } from 'node:crypto'
import { closeSync, openSync, writeSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type BackendProcess, ourSharingBackend } from '../support/guest/backend-process.js'
import { checksum, randomWritesCommand } from '../support/guest/disk-work.js'
import type { Guest } from '../support/guest/guest.js'
import { GuestLab, needQemu } from '../support/guest/guest-lab.js'
import { hostChecksum } from '../support/guest/host-view.js'
import { QemuMonitor } from '../support/guest/qemu-monitor.js'

const KIB = 2 ** 10
const MIB = 2 ** 20
/** One: emulated processors are threads, and how QEMU knows of what each of them writes is not what is tested here. */
const CPUS = 1
const LOAD = { at: 0, length: 4 }
/** Read through the guest's cache while it moves. */
const CACHED = { at: 4, length: 4 }
const DISK_MIB = 8
const LOAD_SECONDS = 30
/** Bytes in a second that are copied at first, when little is left of the first round, and while the guest reads. */
const FAST = 128 * MIB
const SLOW = 2 * MIB
const CRAWL = 64 * KIB
const LIMIT_MS = 120_000

const DISKS = [
  { disk: 'vda', queues: 2, packed: false },
  { disk: 'vdb', queues: 1, packed: true },
] as const

describe('a guest in QEMU', () => {
  let lab: GuestLab
  const monitors: QemuMonitor[] = []
  beforeAll(() => {
    lab = new GuestLab()
  })
  afterAll(async () => {
    for (const monitor of monitors) monitor.close()
    await lab.close()
  })

  const serve = (side: string): Promise<BackendProcess[]> =>
    Promise.all(
      DISKS.map(({ disk, queues }) => {
        const socket = lab.path(`${disk}-${side}.sock`)
        return lab.serveExisting(ourSharingBackend, { socket, image: lab.path(disk), format: 'raw', queues })
      }),
    )

  const attach = (backends: readonly BackendProcess[]) =>
    DISKS.map(({ queues, packed }, index) => ({ socket: backends[index]?.socket ?? '', queues, packed }))

  const monitor = async (side: string): Promise<QemuMonitor> => {
    const connected = await QemuMonitor.connect(lab.path(`${side}.qmp`))
    monitors.push(connected)
    return connected
  }

  test(
    'moves to another host with requests in flight, and goes on',
    async () => {
      needQemu()
      for (const { disk } of DISKS) fillCached(lab.create(disk, 'raw', DISK_MIB * MIB))
      const before = await serve('before')
      const guest = await lab.bootMovable(attach(before), CPUS, lab.path('before.qmp'))
      const sums = new Map<string, string>()
      for (const { disk } of DISKS) sums.set(disk, await checksum(guest, { disk, ...CACHED }))
      // A kernel forgets what it has cached of a disk when nobody has it open.
      await guest.check('exec 7< /dev/vda 8< /dev/vdb')
      const after = await serve('after')
      const moved = await lab.awaitQemu(attach(after), CPUS, lab.path('after.qmp'))
      const [source, target] = [await monitor('before'), await monitor('after')]
      for (const { disk } of DISKS) {
        const work = { depth: 8, jobs: 1, seed: 5, seconds: LOAD_SECONDS, rate: 100 }
        const command = randomWritesCommand({ disk, ...LOAD }, work)
        await guest.check(`(${command} > /tmp/${disk}.log 2>&1; echo $? > /tmp/${disk}.status) & true`)
      }

      await begin(source, target, `unix:${lab.path('migration.sock')}`)
      await untilCopied(source)
      for (const { disk } of DISKS) await guest.check(`${cachedRead(disk)} of=/dev/null`)
      expect(await guest.check('ls /tmp/*.status 2> /dev/null; true'), 'the load ended too early').toBe('')
      await untilMoved(source, target)
      await guest.kill()
      for (const backend of before) await backend.stop()

      // From its memory, as the back-end that is gone had put it there.
      for (const { disk } of DISKS) expect(await moved.check(`${cachedRead(disk)} | md5sum`)).toBe(sums.get(disk))
      const done: number[] = []
      for (const { disk } of DISKS) done.push(await completed(moved, disk))
      expect(await moved.check('ls /tmp/*.status 2> /dev/null; true'), 'the load ended too early').toBe('')
      for (const { disk } of DISKS) {
        await moved.check(`while ! test -e /tmp/${disk}.status; do sleep 0.2; done`)
        expect(await moved.check(`cat /tmp/${disk}.status /tmp/${disk}.log`)).toMatch(/^0\n/)
      }
      for (const [index, { disk }] of DISKS.entries()) {
        expect(await completed(moved, disk)).toBeGreaterThan((done[index] as number) + 16)
      }
      expect(await moved.check('dmesg | grep -ci "i/o error"; true')).toBe('0')
      await expectImages(lab, moved, after)
    },
    LIMIT_MS,
  )
})

/** Something to read where nobody writes. */
function fillCached(path: string): void {
  const fd = openSync(path, 'r+')
  writeSync(fd, randomBytes(CACHED.length * MIB), 0, CACHED.length * MIB, CACHED.at * MIB)
  closeSync(fd)
}

function cachedRead(disk: string): string {
  return `dd if=/dev/${disk} bs=1M skip=${CACHED.at} count=${CACHED.length} 2> /dev/null`
}

/** Begins a migration, so slowly that it can be looked at. */
async function begin(source: QemuMonitor, target: QemuMonitor, uri: string): Promise<void> {
  await target.execute('migrate-incoming', { uri })
  await source.execute('migrate-set-parameters', { 'downtime-limit': 1, 'max-bandwidth': FAST })
  await source.execute('migrate', { uri })
}

interface MigrationState {
  status?: string
  ram?: { remaining: number; total: number; 'dirty-sync-count': number }
  'error-desc'?: string
}

async function stateOf(source: QemuMonitor): Promise<MigrationState> {
  const state = (await source.execute('query-migrate')) as MigrationState
  if (state.status === 'failed') throw new Error(`migration: ${state['error-desc'] ?? 'failed'}`)
  return state
}

/**
 * Waits until all memory was copied once, and holds the migration there: whatever is written from now on has to be copied
 * again. What can be copied in the millisecond that the guest may stop for is less than a page, so that it goes on running.
 */
async function untilCopied(source: QemuMonitor): Promise<void> {
  let slow = false
  for (;;) {
    const { status, ram } = await stateOf(source)
    if (status === 'completed') throw new Error('migration: the guest moved before it should')
    if (ram !== undefined && ram['dirty-sync-count'] > 1) break
    if (!slow && ram !== undefined && ram.remaining > 0 && ram.remaining < ram.total / 32) {
      await source.execute('migrate-set-parameters', { 'max-bandwidth': SLOW })
      slow = true
    }
    await pause(10)
  }
  await source.execute('migrate-set-parameters', { 'max-bandwidth': CRAWL })
}

/** Lets it go on to its end. */
async function untilMoved(source: QemuMonitor, target: QemuMonitor): Promise<void> {
  await source.execute('migrate-set-parameters', { 'downtime-limit': 5000, 'max-bandwidth': 2 ** 30 })
  while ((await stateOf(source)).status !== 'completed') await pause(50)
  while (((await target.execute('query-status')) as { status: string }).status !== 'running') await pause(50)
}

/** Reads and writes that the disk has completed (Linux, Documentation/block/stat). */
async function completed(guest: Guest, disk: string): Promise<number> {
  const fields = (await guest.check(`cat /sys/block/${disk}/stat`)).trim().split(/\s+/)
  return Number(fields[0]) + Number(fields[4])
}

/** The images hold what the guest sees. */
async function expectImages(lab: GuestLab, guest: Guest, backends: readonly BackendProcess[]): Promise<void> {
  const sums = new Map<string, string>()
  for (const { disk } of DISKS) sums.set(disk, await checksum(guest, { disk, at: 0, length: DISK_MIB }))
  await guest.powerOff()
  for (const backend of backends) await backend.stop()
  for (const { disk } of DISKS) {
    expect(await hostChecksum({ path: lab.path(disk), format: 'raw' }, lab.folder)).toBe(sums.get(disk))
  }
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms))
}
