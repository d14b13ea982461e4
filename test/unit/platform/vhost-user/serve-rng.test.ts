// Entropy over a socket: a device that is no disk and has no configuration is served like any other.

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { loadHostIpc } from '../../../../src/platform/native/host-ipc.js'
import { serveVhostUserRng, type VhostUserRngOptions } from '../../../../src/platform/vhost-user/serve-rng.js'
import { RingGuest } from '../../../support/vhost-user/ring-guest.js'

let folder: string
let socket: string

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'vhost-rng-'))
  socket = join(folder, 'socket')
})

afterEach(() => rmSync(folder, { recursive: true, force: true }))

async function ask(options: Partial<VhostUserRngOptions>): Promise<Uint8Array> {
  const server = await serveVhostUserRng({ socket, ...options })
  const guest = new RingGuest(await loadHostIpc(), 1)
  try {
    await guest.start(socket)
    expect(await guest.ask(0, [[guest.free, 64, true]])).toBe(64)
    expect(server.connected).toBe(true)
    return guest.bytes(guest.free, 64).slice()
  } finally {
    guest.close()
    await server.close()
  }
}

test('bytes of a source, at once or later', async () => {
  const count = (bytes: number) => Uint8Array.from({ length: bytes }, (_, i) => i + 1)
  expect(await ask({ entropy: count })).toEqual(count(64))
  expect(await ask({ entropy: async (bytes) => count(bytes), packed: false })).toEqual(count(64))
})

test('bytes of the host, which are others each time', async () => {
  const [first, second] = [await ask({}), await ask({})]
  expect(new Set(first).size).toBeGreaterThan(8)
  expect(first).not.toEqual(second)
})
