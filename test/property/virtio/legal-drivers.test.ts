// Drivers of good faith, with any ring format and several queues, before a device to which everything happens: it is moved
// with requests in flight, failed, drained, paused, its queues are stopped. Every request is answered once, nothing is lost
// or done twice, and the disk is what a flat one would be. A failure prints its number, which alone makes the story.

import fc from 'fast-check'
import { expect, test } from 'vitest'
import { type RandomBelow, seededRandom } from '../../../src/testing/crash/seeded-random.js'
import { LegalWorld, QUEUES } from '../../support/legal-world.js'

const RUNS = 1000
const STEPS = 60

/** What happened over all runs, so that none of it is a rumour. */
const happened: Record<string, number> = {}

function count(what: string, times = 1): void {
  happened[what] = (happened[what] ?? 0) + times
}

async function step(world: LegalWorld, random: RandomBelow, failing: boolean): Promise<void> {
  const index = random(QUEUES)
  switch (random(16)) {
    case 0:
      world.release(1 + random(4), failing)
      return
    case 1:
      await world.settle()
      world.reap()
      return
    case 2:
      world.kick(index)
      return
    case 3:
      count('polled')
      world.device.poll()
      if (random(2) === 0) world.device.armNotifications()
      return
    case 4:
      count('resumed', world.device.parkedRequests)
      world.device.resume()
      return
    case 5:
      if (random(2) > 0) return
      count('moved')
      count('moved with parked requests', world.device.parkedRequests > 0 ? 1 : 0)
      await world.move(failing)
      return
    case 6:
      if (random(2) > 0) return
      // What is parked would be answered with its error where the queue is stopped for good.
      if (failing || world.device.parkedRequests > 0) {
        count('suspended')
        count('suspended with requests left', (await world.suspendQueue(index, failing)) > 0 ? 1 : 0)
        return
      }
      count('stopped')
      await world.restartQueue(index)
      return
    case 7:
      if (random(4) > 0) return
      count('drained')
      await world.drain()
      return
    case 8:
      if (random(4) > 0) return
      await world.during(world.device.pause())
      for (let i = 0; i < QUEUES; i++) world.kick(i)
      world.device.unpause()
      return
    default:
      world.submit(index)
      if (random(3) === 0) world.kick(index)
  }
}

test('whatever happens to the device, each request is done once', async () => {
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
      for (let i = 0; i < STEPS; i++) await step(world, random, failing)
      await world.finish()
    }),
    { numRuns: RUNS },
  )
  for (const what of ['polled', 'resumed', 'moved', 'moved with parked requests', 'stopped', 'suspended', 'drained']) {
    expect(happened[what], what).toBeGreaterThan(20)
  }
  expect(happened['suspended with requests left']).toBeGreaterThan(20)
}, 240_000)
