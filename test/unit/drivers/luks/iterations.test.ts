import { describe, expect, test } from 'vitest'
import type { HostCrypto } from '../../../../src/common/host-services.js'
import { measureIterations } from '../../../../src/drivers/luks/iterations.js'
import { nodeCrypto } from '../../../../src/platform/crypto.js'

/** A host that does `perMs` iterations in a millisecond, by a clock of its own. */
function host(perMs: number): { crypto: HostCrypto; clock: { now(): number }; done: () => number } {
  let now = 5
  let done = 0
  const crypto: HostCrypto = {
    ...nodeCrypto,
    async pbkdf2(_name, _password, _salt, iterations, bytes) {
      done += iterations
      now += iterations / perMs
      return new Uint8Array(bytes)
    },
  }
  return { crypto, clock: { now: () => now }, done: () => done }
}

async function measured(perMs: number, ms: number): Promise<number> {
  const { crypto, clock } = host(perMs)
  return measureIterations(crypto, clock, 'sha256', 64, ms)
}

describe('iterations for a time', () => {
  test('follow the speed of the host', async () => {
    expect(await measured(1000, 2000)).toBe(2_000_000)
    expect(await measured(10, 2000)).toBe(20_000)
    expect(await measured(1000, 2)).toBe(2000)
  })

  test('are a thousand at the least, and without a trial where no time is asked for', async () => {
    expect(await measured(1, 1)).toBe(1000)
    const { crypto, clock, done } = host(1)
    expect(await measureIterations(crypto, clock, 'sha256', 64, 0)).toBe(1000)
    expect(done()).toBe(0)
  })

  test('are refused where every opening would take for ever', async () => {
    await expect(measured(1_000_000, 2000)).rejects.toMatchObject({ code: 'ERANGE' })
  })

  test('are found though the clock stands still', async () => {
    const { crypto } = host(1)
    await expect(measureIterations(crypto, { now: () => 0 }, 'sha256', 64, 2000)).rejects.toMatchObject({
      code: 'ERANGE',
    })
  })
})
