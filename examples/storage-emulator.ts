// A small machine with a disk controller, built on blockgraph. Its guest formats a toy file system and keeps writing files while
// the host snapshots, grows and hot-plugs the disks under it; everything the guest and the host read back is checked.
// Usage: node build/examples/storage-emulator.js

import assert from 'node:assert/strict'
import { mkdtemp, open, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import {
  appendNode,
  BLK_PERM_CONSISTENT_READ,
  BLK_PERM_RESIZE,
  BLK_PERM_WRITE,
  BLK_PERM_WRITE_UNCHANGED,
  type BlockBackend,
  BlockError,
  type BlockGraph,
  createBackend,
  createGraph,
  drained,
  dropHold,
  nodeDrivers,
  openNode,
} from 'blockgraph/node'
import { overlayDriver } from 'blockgraph/testing'

const SECTOR = 512

// ---- The device: what an emulator puts between its guest and a backend. ----

const COMMAND = { read: 1, write: 2, flush: 3 } as const
const STATUS = { idle: 0, busy: 1, error: 2 } as const

/** A controller with one disk. The guest sets `lba`, `count` and `address`, writes `command` and waits for the interrupt. */
class DiskController {
  lba = 0
  count = 0
  address = 0
  status: number = STATUS.idle
  /** In sectors. */
  capacity = 0
  readonly #ram: Uint8Array
  readonly #interrupt: () => void
  #disk: BlockBackend | undefined

  constructor(ram: Uint8Array, interrupt: () => void) {
    this.#ram = ram
    this.#interrupt = interrupt
  }

  /** Connects a disk; a device hears of a new size through its root. */
  plug(disk: BlockBackend): void {
    this.#disk = disk
    this.capacity = disk.length / SECTOR
    disk.root.client = { resized: (length) => (this.capacity = length / SECTOR) }
  }

  unplug(): void {
    this.#disk = undefined
    this.capacity = 0
  }

  /** The guest writes the command register. Whatever it asks for ends in an interrupt, never in an exception. */
  set command(command: number) {
    this.status = STATUS.busy
    this.#run(command).then(
      () => this.#finish(STATUS.idle),
      (error: unknown) => {
        this.#finish(STATUS.error)
        if (!(error instanceof BlockError)) throw error
      },
    )
  }

  #run(command: number): Promise<void> {
    const disk = this.#disk
    if (disk === undefined) return Promise.reject(new BlockError('ENOMEDIUM', 'no disk'))
    if (command === COMMAND.flush) return disk.flush()
    const [offset, bytes] = [this.lba * SECTOR, this.count * SECTOR]
    if (this.address + bytes > this.#ram.byteLength) return Promise.reject(new BlockError('EFAULT', 'outside RAM'))
    // Guest memory itself is the buffer: nothing is copied on the way.
    const buffer = this.#ram.subarray(this.address, this.address + bytes)
    if (command === COMMAND.read) return disk.read(offset, buffer)
    if (command === COMMAND.write) return disk.write(offset, buffer)
    return Promise.reject(new BlockError('EINVAL', `no command ${command}`))
  }

  #finish(status: number): void {
    this.status = status
    this.#interrupt()
  }
}

// ---- The guest: a driver for that controller, and a toy file system on it. ----

class Guest {
  readonly #ram: Uint8Array
  readonly controller: DiskController
  #irq: () => void = () => {}

  constructor() {
    this.#ram = new Uint8Array(64 * 1024)
    this.controller = new DiskController(this.#ram, () => this.#irq())
  }

  /** Moves one buffer. Throws what a guest kernel would log. */
  async transfer(command: number, lba: number, data: Uint8Array = new Uint8Array(0)): Promise<void> {
    if (command === COMMAND.write) this.#ram.set(data)
    const interrupt = new Promise<void>((resolve) => {
      this.#irq = resolve
    })
    Object.assign(this.controller, { lba, count: data.byteLength / SECTOR, address: 0 })
    this.controller.command = command
    await interrupt
    if (this.controller.status === STATUS.error) throw new Error(`I/O error, sector ${lba}`)
    if (command === COMMAND.read) data.set(this.#ram.subarray(0, data.byteLength))
  }
}

/** One sector of directory, files behind it: { name: [first sector, bytes] } in JSON. */
class ToyFileSystem {
  readonly #guest: Guest
  #files: Record<string, [lba: number, bytes: number]> = {}
  #next = 1

  constructor(guest: Guest) {
    this.#guest = guest
  }

  format(): Promise<void> {
    this.#files = {}
    this.#next = 1
    return this.#sync()
  }

  async mount(): Promise<this> {
    const directory = new Uint8Array(SECTOR)
    await this.#guest.transfer(COMMAND.read, 0, directory)
    const text = new TextDecoder().decode(directory)
    ;[this.#next, this.#files] = JSON.parse(text.slice(0, text.indexOf('\0')))
    return this
  }

  /** A file stays where it is as long as it fits there; a longer one is written behind all others. */
  async write(name: string, text: string): Promise<void> {
    const bytes = new TextEncoder().encode(text)
    const sectors = new Uint8Array(Math.ceil(bytes.byteLength / SECTOR) * SECTOR)
    sectors.set(bytes)
    const [place, bytesBefore] = this.#files[name] ?? [this.#next, 0]
    const lba = Math.ceil(bytesBefore / SECTOR) * SECTOR < sectors.byteLength ? this.#next : place
    await this.#guest.transfer(COMMAND.write, lba, sectors)
    if (lba === this.#next) this.#next += sectors.byteLength / SECTOR
    this.#files[name] = [lba, bytes.byteLength]
    await this.#sync()
  }

  async read(name: string): Promise<string> {
    const [lba, bytes] = this.#files[name] ?? [0, 0]
    const sectors = new Uint8Array(Math.ceil(bytes / SECTOR) * SECTOR)
    await this.#guest.transfer(COMMAND.read, lba, sectors)
    return new TextDecoder().decode(sectors.subarray(0, bytes))
  }

  async #sync(): Promise<void> {
    const directory = new Uint8Array(SECTOR)
    directory.set(new TextEncoder().encode(JSON.stringify([this.#next, this.#files])))
    await this.#guest.transfer(COMMAND.write, 0, directory)
    await this.#guest.transfer(COMMAND.flush, 0)
  }
}

// ---- The host: the graph under the machine, and what is done to it while the guest runs. ----

/** A backend for a device: it reads, writes and resizes, and lets nobody else write. */
function attach(graph: BlockGraph, name: string, options: Record<string, unknown>): Promise<BlockBackend> {
  return graph.mainLoop(async (main) => {
    const node = await openNode(main, graph, options)
    const perm = BLK_PERM_CONSISTENT_READ | BLK_PERM_WRITE | BLK_PERM_RESIZE
    const backend = await createBackend(main, graph, {
      name,
      node,
      perm,
      shared: BLK_PERM_CONSISTENT_READ | BLK_PERM_WRITE_UNCHANGED,
    })
    // From here on the backend alone keeps the node; when it goes, the node closes.
    await dropHold(main, node)
    return backend
  }, `attach ${name}`)
}

/** Freezes what the disk holds now: an overlay takes all later writes. The guest's requests wait while it is put in. */
function snapshot(graph: BlockGraph, disk: BlockBackend): Promise<void> {
  return graph.mainLoop(async (main) => {
    const overlay = await openNode(main, graph, { driver: 'overlay', 'node-name': 'overlay', size: disk.length })
    const top = disk.node
    assert(top !== undefined)
    const quiet = await drained(top, overlay)
    try {
      await appendNode(main, quiet, overlay, top)
    } finally {
      quiet.end()
    }
    await dropHold(main, overlay)
  }, 'snapshot')
}

const folder = await mkdtemp(join(tmpdir(), 'storage-emulator-'))
try {
  const image = join(folder, 'disk.img')
  const file = await open(image, 'w')
  await file.truncate(1024 * 1024)
  await file.close()

  const graph = createGraph({ drivers: [...nodeDrivers, overlayDriver] })
  const disk = await attach(graph, 'drive0', { driver: 'raw', file: { driver: 'file', filename: image } })
  const guest = new Guest()
  guest.controller.plug(disk)
  const files = new ToyFileSystem(guest)
  await files.format()
  await files.write('motd', 'written before the snapshot')
  console.log(`guest: formatted ${guest.controller.capacity} sectors, wrote a file`)

  // The guest does not stop for the snapshot: its writes are held for a moment and then go to the overlay.
  let running = true
  const program = (async () => {
    let written = 0
    while (running) await files.write('log', `line ${++written}`)
    return written
  })()
  await snapshot(graph, disk)
  const frozen = await readFile(image)
  for (let i = 0; i < 20; i++) await new Promise((resolve) => setImmediate(resolve))
  running = false
  const lines = await program
  await files.write('motd', 'written after the snapshot')
  assert.equal(await (await new ToyFileSystem(guest).mount()).read('log'), `line ${lines}`)
  assert.equal(await files.read('motd'), 'written after the snapshot')
  assert.deepEqual(await readFile(image), frozen)
  console.log('host:  took a snapshot under load; the image has not changed since, the guest sees all it wrote')

  await disk.truncate(2 * 1024 * 1024)
  assert.equal(guest.controller.capacity, 4096)
  await guest.transfer(COMMAND.write, 4000, new Uint8Array(SECTOR).fill(7))
  await assert.rejects(guest.transfer(COMMAND.read, 4096, new Uint8Array(SECTOR)), /I\/O error, sector 4096/)
  console.log('host:  grew the disk; the guest uses the new sectors, and gets an error behind them')

  const second = new Guest()
  const stick = await attach(graph, 'stick', { driver: 'memory', size: 65536 })
  second.controller.plug(stick)
  const stickFiles = new ToyFileSystem(second)
  await stickFiles.format()
  await stickFiles.write('copy', await files.read('motd'))
  assert.equal(await stickFiles.read('copy'), 'written after the snapshot')
  second.controller.unplug()
  await graph.mainLoop((main) => stick.close(main), 'unplug')
  await assert.rejects(stickFiles.read('copy'), /I\/O error/)
  console.log('host:  plugged a second disk in, and out again')

  await graph.mainLoop((main) => disk.close(main), 'power off')
  assert.deepEqual([...graph.nodes.keys()], [])
  const plain = await attach(graph, 'drive0', { driver: 'raw', file: { driver: 'file', filename: image } })
  guest.controller.plug(plain)
  assert.equal(await (await new ToyFileSystem(guest).mount()).read('motd'), 'written before the snapshot')
  await graph.mainLoop((main) => plain.close(main), 'power off')
  console.log('host:  powered off; started again from the image, the guest is back at the snapshot')
} finally {
  await rm(folder, { recursive: true, force: true })
}
