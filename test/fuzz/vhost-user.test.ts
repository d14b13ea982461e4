// Front-ends that say anything: whatever is said, the connection ends in good order, every descriptor is closed, and a front-end
// that behaves is served afterwards. `npm run fuzz -- vhost-user` runs more dialogues, from another seed.

import { closeSync, ftruncateSync, mkdtempSync, openSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { hostClock } from '../../src/common/clock.js'
import type { HostIpc } from '../../src/common/host-ipc.js'
import { VirtioBlkDevice } from '../../src/devices/virtio/blk/virtio-blk.js'
import type { DeviceListener } from '../../src/exports/vhost-user/backend-device.js'
import { VhostUserConnection } from '../../src/exports/vhost-user/connection.js'
import { loadHostIpc } from '../../src/platform/native/host-ipc.js'
import type { NodeDisk } from '../../src/platform/node-disk.js'
import { openDisk } from '../../src/platform/open-disk.js'
import { VHOST_USER_GET_QUEUE_NUM } from '../../src/protocols/vhost-user/messages.js'
import { type RandomBelow, seededRandom } from '../../src/testing/crash/seeded-random.js'
import { FrontEnd } from '../support/vhost-user/front-end.js'
import { mappedMemory, openFiles } from '../support/vhost-user/open-files.js'
import { leavesNothingOpen, serveDisk } from '../support/vhost-user/served-disk.js'
import { SharedGuest } from '../support/vhost-user/shared-guest.js'
import {
  encodePlanned,
  type FdKind,
  MEMORY_BYTES,
  mutateDialogue,
  type PlannedMessage,
  soundDialogue,
} from './vhost-user/dialogue.js'

const RUNS = Number(process.env.BLOCKGRAPH_FUZZ_RUNS ?? 20_000)
const SEED = Number(process.env.BLOCKGRAPH_FUZZ_SEED ?? 1)
/** Files are counted after so many dialogues. */
const BLOCK = 500

/** What dialogues share. */
interface Bench {
  ipc: HostIpc
  disk: NodeDisk
  device: VirtioBlkDevice
  listener: { to: DeviceListener | undefined }
  fds: Record<FdKind, number>
  memory: Uint32Array
  record: Uint32Array
}

let bench: Bench
let folder: string

beforeAll(async () => {
  const ipc = await loadHostIpc()
  folder = mkdtempSync(join(tmpdir(), 'vhost-fuzz-'))
  const disk = await openDisk({ driver: 'memory', size: 1 << 20 })
  const listener: Bench['listener'] = { to: undefined }
  const device = new VirtioBlkDevice({
    root: disk.backend.root,
    queues: 2,
    queueReset: false,
    notifier: {
      notifyQueue: (index) => listener.to?.notifyQueue(index),
      notifyConfig: () => listener.to?.notifyConfig(),
    },
  })
  const file = openSync(join(folder, 'ram'), 'w+')
  ftruncateSync(file, MEMORY_BYTES)
  const memory = ipc.createMemory('guest', MEMORY_BYTES)
  const record = ipc.createMemory('record', 8192)
  const fds = {
    memory,
    record,
    file,
    event: ipc.createEvent(),
    socket: ipc.socketPair()[0],
    folder: openSync(folder, 'r'),
    small: ipc.createMemory('small', 4096),
  }
  bench = {
    ipc,
    disk,
    device,
    listener,
    fds,
    memory: new Uint32Array(ipc.map(memory, 0, MEMORY_BYTES).view(0, MEMORY_BYTES)),
    record: new Uint32Array(ipc.map(record, 0, 8192).view(0, 8192)),
  }
})

afterAll(async () => {
  await bench.device.close()
  await bench.disk.close()
  for (const fd of Object.values(bench.fds)) closeSync(fd)
  rmSync(folder, { recursive: true, force: true })
})

test(`${RUNS} dialogues`, async () => {
  let ran = 0
  let before = held()
  for (let run = 0; run < RUNS; run++) {
    const seed = SEED * 1_000_003 + run
    const random = seededRandom(seed)
    const said = soundDialogue(random)
    const done = run % 10 === 0 ? [] : mutateDialogue(said, random)
    if (random(4) === 0) disturb(random)
    try {
      if (await hold(said)) ran++
    } catch (error) {
      throw new Error(`seed ${seed}: ${done.join('; ')}`, { cause: error })
    }
    if (run % BLOCK !== BLOCK - 1) continue
    await new Promise((resolve) => setTimeout(resolve, 2))
    const after = held()
    // The first block warms up whatever is made once.
    if (run >= BLOCK) expect(after, `open files and mapped memory, dialogues up to seed ${seed}`).toEqual(before)
    before = after
  }
  // Dialogues that never get as far as a ring would find nothing behind the door.
  expect(ran / RUNS).toBeGreaterThan(0.3)
  await leavesNothingOpen(goodGuest)
}, 600_000)

/** What this process has open and mapped. */
function held(): string[] {
  return [...openFiles(), ...mappedMemory()]
}

/** Has the dialogue; whether a ring ran. */
async function hold(said: readonly PlannedMessage[]): Promise<boolean> {
  const { ipc, device, listener, fds } = bench
  const [ours, theirs] = ipc.socketPair()
  const connection = new VhostUserConnection(
    {
      ipc,
      device,
      clock: hostClock,
      log: () => {},
      options: { inbandNotifications: false, xenMappings: false, requireSealed: false, memorySlots: 8 },
    },
    theirs,
  )
  listener.to = connection
  const front = new FrontEnd(ipc, ours)
  const ended = connection.run()
  try {
    for (const message of said)
      front.sendRaw(
        encodePlanned(message),
        message.fds.map((kind) => fds[kind]),
      )
    // Whoever answers this has taken all that came before; one that was given a wrong length never will.
    if (said.every(({ size }) => size === undefined)) {
      front.say(VHOST_USER_GET_QUEUE_NUM)
      await front.skipTo(VHOST_USER_GET_QUEUE_NUM)
    } else {
      await new Promise((resolve) => setImmediate(resolve))
    }
  } catch {
    // The connection has ended before all was said.
  } finally {
    front.close()
    await ended
    listener.to = undefined
  }
  return connection.rings.everRan
}

/** Other contents of guest memory, and of the record that a front-end has kept. */
function disturb(random: RandomBelow): void {
  const { memory, record } = bench
  if (random(2) === 0) {
    memory.fill(0)
    record.fill(0)
  }
  for (let i = random(64); i > 0; i--)
    memory[random(memory.length)] = random(3) === 0 ? random(0x1_0000_0000) : random(512)
  for (let i = random(16); i > 0; i--) record[random(128)] = random(3) === 0 ? random(0x1_0000_0000) : random(512)
}

async function goodGuest(): Promise<void> {
  const served = await serveDisk()
  const guest = new SharedGuest(bench.ipc)
  await guest.start(served.socket)
  for (let i = 0; i < 100; i++) await guest.disks[0]?.write(i * 512, new Uint8Array(512).fill(i))
  guest.close()
  await served.close()
}
