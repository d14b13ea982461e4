// What a device writes is in the log: drivers of chance with any ring format and several queues, logging turned on and off
// with requests in flight, disks that fail. Each byte that the device changes lies in a page that is in the log afterwards, as
// soon as the driver can see what it is for, so that whoever copies those pages onto a copy from before has the same memory.
// A failure prints its number.

import fc from 'fast-check'
import { expect, test } from 'vitest'
import type { HostIpc } from '../../../src/common/host-ipc.js'
import { LogMemory } from '../../../src/exports/vhost-user/dirty-log/log-memory.js'
import { ringParts } from '../../../src/exports/vhost-user/dirty-log/ring-parts.js'
import { WriteLogging } from '../../../src/exports/vhost-user/dirty-log/write-logging.js'
import { type RandomBelow, seededRandom } from '../../../src/testing/crash/seeded-random.js'
import { LegalWorld, QUEUES } from '../../support/legal-world.js'

const RUNS = 200
const STEPS = 80
const PAGE = 4096

/** Pages that have changed, and runs in which logging was turned on with requests in flight. */
const happened = { changed: 0, 'turned on in flight': 0, restarted: 0, parked: 0 }

/** A world whose device is logged, and memory as it was when the driver touched it last. */
class LoggedWorld {
  on = false
  readonly world: LegalWorld
  private readonly bits: Uint8Array
  private readonly logging: WriteLogging
  private readonly before: Uint8Array
  /** Pages that have changed and are not in the log yet: nobody was told of what they are for. */
  private readonly owed = new Set<number>()

  constructor(world: LegalWorld) {
    this.world = world
    this.before = world.ram.slice()
    this.bits = new Uint8Array(world.ram.length / PAGE / 8)
    const { device, clock } = world
    const ipc = memoryOnly(this.bits)
    this.logging = new WriteLogging({ ipc, device, clock, memoryEnd: world.ram.length })
    const described = { size: BigInt(this.bits.length), offset: 0n }
    this.logging.useMemory(LogMemory.map(ipc, 0, described, { requireSealed: false }))
  }

  /** Turns logging of everything on or off. */
  turn(on: boolean): void {
    this.check()
    if (on && this.world.inFlight > 0) happened['turned on in flight']++
    this.on = on
    this.owed.clear()
    this.logging.logBuffers(on)
    for (const [index, { plan }] of this.world.queues.entries()) {
      const used = plan.config.usedRing.low
      const address = { index, flags: 1, descriptor: 0n, available: 0n, used: 0n, log: BigInt(used) }
      const parts = ringParts(address, plan.config, this.world.features.packed)
      this.logging.logRing(index, on ? parts : undefined)
    }
  }

  /** The driver does something, and the device nothing. */
  drive<T>(act: () => T): T {
    this.check()
    const result = act()
    this.before.set(this.world.ram)
    return result
  }

  /** Takes the log, and notes what has changed and is not in it. */
  check(): void {
    const { ram } = this.world
    for (let page = 0; this.on && page < ram.length / PAGE; page++) {
      const at = page * PAGE
      const changed = Buffer.compare(ram.subarray(at, at + PAGE), this.before.subarray(at, at + PAGE)) !== 0
      if (changed) happened.changed++
      if (changed) this.owed.add(page)
      if (((this.bits[page >> 3] as number) & (1 << (page & 7))) !== 0) this.owed.delete(page)
    }
    this.before.set(ram)
    this.bits.fill(0)
  }

  /** Everything is answered, and nothing is owed. */
  async finish(): Promise<void> {
    const { world } = this
    while (world.device.armNotifications()) world.device.poll()
    for (let turn = 0; turn < 300 && world.inFlight > 0; turn++) {
      world.device.resume()
      for (const index of world.queues.keys()) this.kick(index)
      world.release(8, false)
      await world.settle()
      this.drive(() => world.reap())
    }
    await world.settle()
    this.check()
    expect([...this.owed]).toEqual([])
    this.turn(false)
    await world.finish()
  }

  /** Shows the device what was added, and kicks it where it asks for that. */
  kick(index: number): void {
    if (this.drive(() => this.world.queues[index]?.publish()) === true) this.world.device.kick(index)
  }
}

/** Maps `memory`, whatever is asked for. */
function memoryOnly(memory: Uint8Array): HostIpc {
  const ipc: Partial<HostIpc> = {
    describe: () => ({ size: memory.length, isFile: true, cannotShrink: true }),
    map: () => ({ bytes: memory.length, view: () => memory.buffer as ArrayBuffer, unmap: () => {} }),
    close: () => {},
  }
  return ipc as HostIpc
}

async function step(logged: LoggedWorld, random: RandomBelow, failing: boolean): Promise<void> {
  const { world } = logged
  const index = random(QUEUES)
  switch (random(14)) {
    case 0:
      world.release(1 + random(4), failing)
      return
    case 1:
      await world.settle()
      logged.drive(() => world.reap())
      return
    case 2:
      logged.kick(index)
      return
    case 3:
      world.device.poll()
      if (random(2) === 0) world.device.armNotifications()
      return
    case 4:
      happened.parked += world.device.parkedRequests
      world.device.resume()
      return
    case 5:
      // What is parked would be answered with its error.
      if (random(2) > 0 || world.device.parkedRequests > 0 || failing) return
      happened.restarted++
      await world.restartQueue(index)
      return
    case 6:
      logged.turn(random(4) > 0)
      return
    default:
      logged.drive(() => world.submit(index))
  }
}

test('every byte that a device changes lies in a page of the log', async () => {
  await fc.assert(
    fc.asyncProperty(fc.nat(0x7fff_ffff), async (number) => {
      const random = seededRandom(number)
      const features = {
        packed: random(2) === 0,
        indirect: random(2) === 0,
        eventIndex: random(2) === 0,
        inOrder: random(3) === 0,
      }
      const world = new LegalWorld(features, random)
      if (random(4) > 0) world.disk.held = []
      const failing = random(2) === 0
      const logged = new LoggedWorld(world)
      logged.turn(random(2) === 0)
      for (let i = 0; i < STEPS; i++) await step(logged, random, failing)
      await logged.finish()
    }),
    { numRuns: RUNS },
  )
  for (const [what, times] of Object.entries(happened)) expect(times, what).toBeGreaterThan(50)
}, 120_000)
