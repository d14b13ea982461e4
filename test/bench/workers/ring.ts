// Requests a second through a virtio-blk ring to the memory driver, 4 KiB, 32 at a time, guest and device in one thread.

import {
  BLK_PERM_ALL,
  BlockGraph,
  builtinDrivers,
  createBackend,
  GuestMemory,
  MiB,
  openNode,
  VirtioBlkDevice,
} from 'blockgraph'
import { GuestBlkDriver } from 'blockgraph/testing'

const DEPTH = 32
const BYTES = 4096
const DISK = 64 * MiB
const DATA_AT = MiB
const BATCHES = Number(process.argv[2] ?? 30_000)
/** Batches between two turns of the event loop. */
const TURN_EVERY = 64

const graph = new BlockGraph({ drivers: builtinDrivers })
const backend = await graph.mainLoop(async (main) => {
  const node = await openNode(main, graph, { driver: 'memory', size: DISK })
  return createBackend(main, graph, { node, perm: BLK_PERM_ALL })
})
await backend.write(0, new Uint8Array(DISK).fill(0x5a))
const memory = new GuestMemory([{ address: 0, memory: new SharedArrayBuffer(8 * MiB) }])
const device = new VirtioBlkDevice({ root: backend.root, memory, notifier: { notifyQueue: () => {} } })
const driver = new GuestBlkDriver({ device, memory, address: 0x10000 })
driver.initialise()
const read = await rateOf((sector, address) => driver.submitRead(sector, address, BYTES))
const write = await rateOf((sector, address) => driver.submitWrite(sector, address, BYTES))
await device.close()
console.log(JSON.stringify({ read, write }))

async function rateOf(submit: (sector: number, address: number) => number): Promise<number> {
  let done = 0
  let sector = 0
  const completed = (_head: number, status: number) => {
    if (status !== 0) throw new Error(`status ${status}`)
    done++
  }
  const began = performance.now()
  for (let batch = 1; batch <= BATCHES; batch++) {
    for (let i = 0; i < DEPTH; i++) {
      if (submit(sector, DATA_AT + i * BYTES) < 0) throw new Error('the queue is full')
      sector = (sector + BYTES / 512) % (DISK / 512)
    }
    driver.kick()
    driver.poll(completed)
    while (done < batch * DEPTH) {
      await nextTurn()
      driver.poll(completed)
    }
    if (batch % TURN_EVERY === 0) await nextTurn()
  }
  return done / ((performance.now() - began) / 1000)
}

function nextTurn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve))
}
