// The back-end is killed while a guest writes to it, and started again: QEMU connects once more and hands back the list of
// what was in flight, so that nothing is lost and nothing is done twice. The guest notices a pause. What a qcow2 image keeps
// in memory until a flush dies with the back-end, as with any volatile cache, so that its back-end writes through. (A guest that
// asks for write-through does not help: the next back-end is not told.)

import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type BackendProcess, ourBackend } from '../support/guest/backend-process.js'
import { checksum, randomWritesCommand } from '../support/guest/disk-work.js'
import type { Guest } from '../support/guest/guest.js'
import { GuestLab, needQemu } from '../support/guest/guest-lab.js'
import { hostChecksum } from '../support/guest/host-view.js'

const MIB = 2 ** 20
const DISK_MIB = 8
const CPUS = 2
const DEPTH = 16
/** With requests in flight, and in all. */
const KILLS = 3
const MOST_KILLS = 8
/** Of load; QEMU tries to connect once a second. */
const LOAD_SECONDS = 30
const PAUSE_MS = 1000
const LIMIT_MS = 180_000

const DISKS = [
  { disk: 'vda', format: 'raw', queues: 1, packed: false, writeThrough: false },
  { disk: 'vdb', format: 'qcow2', queues: 2, packed: true, writeThrough: true },
] as const

describe('a back-end that is killed under load', () => {
  let lab: GuestLab
  let guest: Guest
  const backends: BackendProcess[] = []
  beforeAll(() => {
    lab = new GuestLab()
  })
  afterAll(() => lab.close())

  test(
    'a guest in QEMU boots',
    async () => {
      needQemu()
      for (const { disk, format, queues, writeThrough } of DISKS) {
        backends.push(await lab.serve(ourBackend, disk, { format, bytes: DISK_MIB * MIB, queues, writeThrough }))
      }
      const disks = DISKS.map(({ queues, packed }, index) => {
        return { socket: backends[index]?.socket ?? '', queues, packed, reconnect: true }
      })
      guest = await lab.bootQemu(disks, CPUS)
    },
    LIMIT_MS,
  )

  test.each(DISKS)(
    '$format, packed $packed, write-through $writeThrough: random writes go on and verify',
    async ({ disk, format, queues }) => {
      needQemu()
      const backend = backends[DISKS.findIndex((one) => one.disk === disk)]
      const work = { depth: DEPTH, jobs: queues, seed: 3, seconds: LOAD_SECONDS }
      const command = randomWritesCommand({ disk, at: 0, length: DISK_MIB }, work)
      await guest.check(`rm -f /tmp/status; (${command} > /tmp/log 2>&1; echo $? > /tmp/status) & true`)
      let stalls = 0
      for (let kill = 0; kill < MOST_KILLS && stalls < KILLS; kill++) {
        await progress(guest, disk)
        await backend?.kill()
        if (await stalled(guest, disk)) stalls++
        await backend?.restart()
      }
      expect(stalls).toBeGreaterThan(0)
      await progress(guest, disk)
      expect(await guest.check('wait; cat /tmp/status /tmp/log', LIMIT_MS)).toMatch(/^0\n/)
      expect(await guest.check('dmesg | grep -ci "i/o error"; true')).toBe('0')
      const sum = await checksum(guest, { disk, at: 0, length: DISK_MIB })
      await guest.check('sync')
      await backend?.stop()
      expect(await hostChecksum({ path: lab.path(disk), format, mayLeak: true }, lab.folder)).toBe(sum)
      await backend?.restart()
    },
    LIMIT_MS,
  )
})

/** Waits until the load has completed more than it has now, and has gone on for a while. */
async function progress(guest: Guest, disk: string): Promise<void> {
  const before = await completed(guest, disk)
  const deadline = Date.now() + LIMIT_MS / 2
  while ((await completed(guest, disk)) <= before + DEPTH) {
    if (Date.now() > deadline) throw new Error(`${disk}: nothing was completed after ${before}`)
    await pause(50)
  }
  await pause(PAUSE_MS)
  expect(await guest.check('test -e /tmp/status && cat /tmp/status /tmp/log; true'), 'the load ended too early').toBe(
    '',
  )
}

/**
 * Whether something is in flight, which then stays there. A load that was killed in a flush stands still as well, but the
 * guest does not count that as in flight.
 */
async function stalled(guest: Guest, disk: string): Promise<boolean> {
  const deadline = Date.now() + PAUSE_MS
  while ((await inFlight(guest, disk)) === 0) {
    if (Date.now() > deadline) return false
    await pause(50)
  }
  const before = await completed(guest, disk)
  await pause(PAUSE_MS / 4)
  expect(await completed(guest, disk)).toBe(before)
  expect(await inFlight(guest, disk)).toBeGreaterThan(0)
  return true
}

/** Reads and writes that the disk has completed (Linux, Documentation/block/stat). */
async function completed(guest: Guest, disk: string): Promise<number> {
  const fields = (await guest.check(`cat /sys/block/${disk}/stat`)).trim().split(/\s+/)
  return Number(fields[0]) + Number(fields[4])
}

async function inFlight(guest: Guest, disk: string): Promise<number> {
  const [reads, writes] = (await guest.check(`cat /sys/block/${disk}/inflight`)).trim().split(/\s+/)
  return Number(reads) + Number(writes)
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms))
}
