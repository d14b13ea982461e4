// A virtio-blk device over a graph in memory, and the guest that drives it. An emulator does the first half of this; the
// second is what a guest kernel does.
// Usage: node build/examples/virtio-blk.js

import assert from 'node:assert/strict'
import {
  BLK_PERM_CONSISTENT_READ,
  BLK_PERM_WRITE,
  BlockGraph,
  builtinDrivers,
  closeNode,
  createBackend,
  GuestMemory,
  MiB,
  openNode,
  VirtioBlkDevice,
} from 'blockgraph'
import { GuestBlkDriver, GuestDisk } from 'blockgraph/testing'

const graph = new BlockGraph({ drivers: builtinDrivers })
const backend = await graph.mainLoop(async (main) => {
  const node = await openNode(main, graph, { driver: 'memory', 'node-name': 'disk', size: 16 * MiB })
  const perm = BLK_PERM_CONSISTENT_READ | BLK_PERM_WRITE
  return createBackend(main, graph, { name: 'vda', node, perm, shared: BLK_PERM_CONSISTENT_READ })
})

// Guest RAM, and the device with its two interrupts.
const memory = new GuestMemory([{ address: 0, memory: new SharedArrayBuffer(8 * MiB) }])
const device = new VirtioBlkDevice({
  root: backend.root,
  memory,
  serial: 'example-0001',
  notifier: { notifyQueue: () => disk.notified() },
})

// The guest: feature negotiation, a queue at 64 KiB, requests.
const driver = new GuestBlkDriver({ device, memory, address: 0x10000 })
const disk: GuestDisk = new GuestDisk({ driver, memory })
driver.initialise()
console.log(`guest sees ${await disk.id()}: ${disk.size / MiB} MiB, blocks of ${driver.config().blkSize}`)

const pieces = Array.from({ length: 100 }, (_, i) => new Uint8Array(4096).fill(i + 1))
for (const written of await Promise.allSettled(pieces.map((piece, i) => disk.write(i * 4096, piece)))) {
  if (written.status === 'rejected') throw written.reason
}
await disk.flush()
console.log('wrote 400 KiB with many requests in flight, and flushed')

const got = new Uint8Array(4096)
for (const [i, piece] of pieces.entries()) {
  await disk.read(i * 4096, got)
  assert.deepEqual(got, piece)
}
console.log(`read back: all ${pieces.length} pieces are what was written`)

await disk.discard(0, 4096)
await disk.writeZeroes(4096, 4096, true)
await disk.read(4096, got)
assert.deepEqual(got, new Uint8Array(4096))

// What the guest gets wrong is answered with a status, on the ring, and costs nobody else anything.
await assert.rejects(disk.read(disk.size, got), { code: 'EIO' })
console.log('a zeroed range reads as zeroes; a read behind the end is an I/O error')

await device.close()
const { read, write, unmap } = backend.accounting
console.log(`the backend counted ${read.operations} reads, ${write.operations} writes, ${unmap.operations} discards`)
assert.equal(write.bytes, 101 * 4096)
await graph.mainLoop(async (main) => {
  await backend.close(main)
  await closeNode(main, graph.node('disk'))
})
assert.equal(graph.nodes.size, 0)
