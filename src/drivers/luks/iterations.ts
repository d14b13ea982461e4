// How many iterations of PBKDF2 take a given time on this host: what a new key slot asks of everybody who guesses at it.

import type { Clock } from '../../common/clock.js'
import { BlockError } from '../../common/error.js'
import type { HashName, HostCrypto } from '../../common/host-services.js'
import { LUKS_SALT_BYTES } from './header.js'

/** Fewer are never written (LUKS1 specification, 4.1). */
export const LEAST_ITERATIONS = 1000

/** A trial this long is exact enough. */
const TRIAL_MS = 30

/** Eight slots of more would be refused at the next opening, as too much work. */
const MOST_ITERATIONS = 15_000_000

const FIRST_TRIAL = 2048
const LAST_TRIAL = 2 ** 24

/** Iterations that make `bytes` bytes of key in about `ms` milliseconds, as `clock` sees it. ERANGE where they are too many. */
export async function measureIterations(
  crypto: HostCrypto,
  clock: Pick<Clock, 'now'>,
  hash: HashName,
  bytes: number,
  ms: number,
): Promise<number> {
  if (ms === 0) return LEAST_ITERATIONS
  const salt = new Uint8Array(LUKS_SALT_BYTES)
  for (let trial = FIRST_TRIAL; ; trial *= 2) {
    const start = clock.now()
    await crypto.pbkdf2(hash, salt, salt, trial, bytes)
    const elapsed = clock.now() - start
    if (elapsed < TRIAL_MS && trial < LAST_TRIAL) continue
    const iterations = Math.round((trial * ms) / Math.max(elapsed, 1))
    if (iterations > MOST_ITERATIONS) {
      throw new BlockError('ERANGE', `PBKDF iterations ${iterations} larger than ${MOST_ITERATIONS}`, { op: 'create' })
    }
    return Math.max(iterations, LEAST_ITERATIONS)
  }
}
