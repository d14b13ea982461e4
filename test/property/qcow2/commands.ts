// What is done to an image, as data: requests in flight together, and what global state does in between.

import * as fc from 'fast-check'
import { type GuestRequest, guestRequest } from './requests.js'

/** One step of a run. */
export type ImageCommand =
  /** With `failure`, that many steps on a request below fails; 0 for none. */
  | { type: 'requests'; requests: GuestRequest[]; together: number; failure: number }
  | { type: 'snapshot'; vmstate: number }
  | { type: 'apply' | 'delete'; which: number }
  | { type: 'add-bitmap'; granularity: number; persistent: boolean }
  | { type: 'remove-bitmap'; which: number }
  | { type: 'merge-bitmap'; which: number; from: number }
  | { type: 'resize'; sixteenths: number; sectors: number }
  | { type: 'reopen' | 'change'; options: number }
  | { type: 'read-only' }

/** Runtime options that an image may be opened with, or changed to. */
export const OPTION_SETS: readonly Readonly<Record<string, unknown>>[] = [
  {},
  { 'l2-cache-size': 1024, 'l2-cache-entry-size': 512, 'refcount-cache-size': 2048 },
  { 'pass-discard-request': true, 'pass-discard-other': true, 'pass-discard-snapshot': true },
  { 'discard-no-unref': true, 'overlap-check': 'all' },
  { 'overlap-check': 'none', 'l2-cache-entry-size': 512, 'pass-discard-snapshot': false },
]

const which = fc.nat(3)
const options = fc.nat(OPTION_SETS.length - 1)

/** Steps; a batch of requests has up to `most`. */
export function imageCommands(most: number, count: number): fc.Arbitrary<ImageCommand[]> {
  const requests = fc.record({
    type: fc.constant('requests' as const),
    requests: fc.array(guestRequest, { minLength: 1, maxLength: most }),
    together: fc.integer({ min: 1, max: most }),
    failure: fc.oneof(
      { weight: 5, arbitrary: fc.constant(0) },
      { weight: 1, arbitrary: fc.integer({ min: 1, max: 40 }) },
    ),
  })
  const command = fc.oneof(
    { weight: 8, arbitrary: requests },
    {
      weight: 3,
      arbitrary: fc.record({ type: fc.constant('snapshot' as const), vmstate: fc.constantFrom(0, 0, 700, 5000) }),
    },
    { weight: 3, arbitrary: fc.record({ type: fc.constantFrom('apply' as const, 'delete' as const), which }) },
    {
      weight: 1,
      arbitrary: fc.record({
        type: fc.constant('add-bitmap' as const),
        granularity: fc.constantFrom(512, 4096),
        persistent: fc.boolean(),
      }),
    },
    { weight: 1, arbitrary: fc.record({ type: fc.constant('remove-bitmap' as const), which }) },
    { weight: 1, arbitrary: fc.record({ type: fc.constant('merge-bitmap' as const), which, from: which }) },
    {
      weight: 2,
      arbitrary: fc.record({
        type: fc.constant('resize' as const),
        sixteenths: fc.integer({ min: 1, max: 40 }),
        sectors: fc.constantFrom(0, 0, 1, -1),
      }),
    },
    { weight: 2, arbitrary: fc.record({ type: fc.constantFrom('reopen' as const, 'change' as const), options }) },
    { weight: 1, arbitrary: fc.record({ type: fc.constant('read-only' as const) }) },
  )
  return fc.array(command, { minLength: 1, maxLength: count })
}
