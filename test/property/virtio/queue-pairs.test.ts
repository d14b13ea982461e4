// Both ends of a queue against each other, for every combination of features: random chains, batches and orders of
// completion, with restarts of the device. Nothing is lost, doubled or reordered, and nobody sleeps through a chain.

import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { ALL_FEATURES, BUFFERS_AT, type PairBuffer, QueuePair } from '../../support/queue-pair.js'

const chain: fc.Arbitrary<PairBuffer[]> = fc
  .tuple(
    fc.array(fc.integer({ min: 1, max: 5000 }), { maxLength: 3 }),
    fc.array(fc.integer({ min: 1, max: 5000 }), { maxLength: 3 }),
  )
  .filter(([readable, writable]) => readable.length + writable.length > 0)
  .map(([readable, writable]) =>
    [
      ...readable.map((bytes) => ({ bytes, writable: false })),
      ...writable.map((bytes) => ({ bytes, writable: true })),
    ].map(({ bytes, writable: direction }, i) => ({
      address: BUFFERS_AT + i * 0xa00 + (bytes & 0xf),
      bytes,
      writable: direction,
    })),
  )

const round = fc.array(chain, { minLength: 1, maxLength: 6 })

const step = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({
      do: fc.constant('round' as const),
      chains: round,
      picks: fc.array(fc.nat(), { maxLength: 8 }),
    }),
  },
  fc.record({ do: fc.constant('add' as const), chains: fc.array(chain, { minLength: 1, maxLength: 4 }) }),
  fc.record({ do: fc.constant('offer' as const) }),
  fc.record({ do: fc.constant('fetch' as const), count: fc.integer({ min: 1, max: 6 }) }),
  fc.record({
    do: fc.constant('complete' as const),
    picks: fc.array(fc.record({ index: fc.nat(), share: fc.constantFrom(0, 0.5, 1, 1) }), {
      minLength: 1,
      maxLength: 5,
    }),
  }),
  fc.record({ do: fc.constant('return' as const) }),
  fc.record({ do: fc.constant('reap' as const) }),
  fc.record({ do: fc.constant('quiet' as const), driver: fc.boolean() }),
  fc.record({ do: fc.constant('listen' as const), driver: fc.boolean() }),
  fc.record({ do: fc.constantFrom('restart' as const, 'reload' as const) }),
)

type Step = typeof step extends fc.Arbitrary<infer T> ? T : never

/** What each side was promised: the next chain that is shown wakes it. */
interface Promises {
  driverSleeps: boolean
  deviceSleeps: boolean
}

function act(pair: QueuePair, promises: Promises, one: Step): void {
  switch (one.do) {
    case 'round':
      for (const buffers of one.chains) pair.add(buffers)
      act(pair, promises, { do: 'offer' })
      act(pair, promises, { do: 'fetch', count: 8 })
      act(pair, promises, { do: 'complete', picks: one.picks.map((index) => ({ index, share: 1 })) })
      act(pair, promises, { do: 'return' })
      act(pair, promises, { do: 'reap' })
      break
    case 'add':
      for (const buffers of one.chains) pair.add(buffers)
      break
    case 'offer': {
      const shown = pair.added.length > 0 && unshown(pair)
      const kicked = pair.driver.publish()
      if (shown && promises.deviceSleeps) expect(kicked).toBe(true)
      if (shown) promises.deviceSleeps = false
      break
    }
    case 'fetch':
      for (let i = 0; i < one.count && pair.fetch(); i++);
      promises.deviceSleeps = false
      break
    case 'complete':
      for (const { index, share } of one.picks) {
        if (pair.fetched.length > 0)
          pair.complete(index % pair.fetched.length, (writable) => Math.floor(writable * share))
      }
      break
    case 'return': {
      const some = pair.device.unpublished
      const notified = pair.device.publish()
      expect(pair.device.unpublished).toBe(false)
      if (some && promises.driverSleeps) expect(notified).toBe(true)
      if (some) promises.driverSleeps = false
      break
    }
    case 'reap':
      expect(pair.driver.pending()).toBe(pair.reapAll())
      promises.driverSleeps = false
      break
    case 'quiet':
      if (one.driver) pair.driver.disableNotifications()
      else pair.device.suppressNotifications()
      promises[one.driver ? 'driverSleeps' : 'deviceSleeps'] = false
      break
    case 'listen':
      // Who is told to sleep has nothing to do.
      if (one.driver) {
        promises.driverSleeps = !pair.driver.enableNotifications()
        expect(promises.driverSleeps).toBe(pair.driver.pending() === 0)
      } else {
        promises.deviceSleeps = !pair.device.allowNotifications()
        expect(promises.deviceSleeps).toBe(availableNow(pair) === 0)
      }
      break
    case 'restart':
    case 'reload':
      pair[one.do]()
      promises.driverSleeps = false
      break
  }
}

/** Bytes the device can see and has not fetched. */
function availableNow(pair: QueuePair): number {
  const { readable, writable } = pair.device.availableBytes({ readable: Infinity, writable: Infinity })
  return readable + writable
}

/** Whether something was added since the last offer: the device cannot see the chain added last. */
function unshown(pair: QueuePair): boolean {
  const total = pair.added.flatMap(({ buffers }) => buffers).reduce((sum, { bytes }) => sum + bytes, 0)
  return availableNow(pair) < total
}

describe.each(ALL_FEATURES)('%s', (_name, features) => {
  test.each([
    ['', false, 200],
    [', in a queue whose parts cross regions', true, 100],
  ])('every chain comes back once, as it was added, and wakes who sleeps%s', (_where, cut, numRuns) => {
    const size = features.packed ? fc.constantFrom(1, 2, 3, 7, 8, 13) : fc.constantFrom(1, 2, 4, 8, 16)
    fc.assert(
      fc.property(size, fc.array(step, { minLength: 5, maxLength: 60 }), (entries, steps) => {
        const pair = new QueuePair(features, entries, { cut })
        const promises = { driverSleeps: false, deviceSleeps: false }
        for (const one of steps) act(pair, promises, one)
        // Whatever is left runs to its end.
        pair.driver.publish()
        while (pair.fetch());
        while (pair.fetched.length > 0) pair.complete(pair.fetched.length - 1, (writable) => writable)
        pair.device.publish()
        pair.reapAll()
        expect([pair.order.length, pair.completed.size, pair.added.length]).toEqual([0, 0, 0])
        expect([pair.driver.free, pair.driver.inFlight, pair.device.inFlight]).toEqual([entries, 0, 0])
        expect(pair.tracker.lists.size).toBe(0)
        const state = pair.device.save()
        expect([state.availIndex, state.availWrap]).toEqual([state.usedIndex, state.usedWrap])
      }),
      { numRuns },
    )
  })
})
