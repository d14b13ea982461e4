// A back-end that is killed while requests are in flight, and started again: the record of requests in flight says what has
// to be done again. The driver's queue throws where a request comes back that it does not have.

import { mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { loadHostIpc } from '../../../../src/platform/native/host-ipc.js'
import { seededRandom } from '../../../../src/testing/crash/seeded-random.js'
import { BackendChild } from '../../../support/vhost-user/backend-child.js'
import { SharedGuest } from '../../../support/vhost-user/shared-guest.js'

const BLOCK = 4096
const BLOCKS = 1024
const KILLS = 4
const MOST_KILLS = 40
const SEED = Number(process.env.BLOCKGRAPH_FUZZ_SEED ?? 1)

let folder: string
let socket: string
let image: string

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'vhost-killed-'))
  socket = join(folder, 'socket')
  image = join(folder, 'disk.img')
  writeFileSync(image, '')
  truncateSync(image, BLOCK * BLOCKS)
})

afterEach(async () => {
  await BackendChild.endAll()
  rmSync(folder, { recursive: true, force: true })
})

describe('a back-end that is killed', () => {
  test.each([
    ['split', { packed: false, queues: 1 }],
    ['packed', { packed: true, queues: 1 }],
    ['two split queues', { packed: false, queues: 2 }],
    ['two packed queues', { packed: true, queues: 2 }],
  ])('leaves its requests to the next: %s', async (_name, options) => {
    const random = seededRandom(SEED)
    const args = ['--socket', socket, '-f', 'raw', '--num-queues', String(options.queues), image]
    const guest = new SharedGuest(await loadHostIpc(), options)
    let backend = await BackendChild.start(args)
    await guest.start(socket)
    const content = new Uint8Array(BLOCKS)
    let stop = false
    let done = 0
    const workers = Array.from({ length: 24 }, async (_, worker) => {
      const disk = guest.disks[worker % options.queues]
      const data = new Uint8Array(BLOCK)
      for (let round = 0; !stop; round++) {
        // Each has blocks of its own, so that what is read back is what it wrote last.
        const block = worker + 24 * random(Math.floor(BLOCKS / 24))
        const value = 1 + ((round * 7 + worker) % 255)
        await disk?.write(block * BLOCK, new Uint8Array(BLOCK).fill(value))
        content[block] = value
        await disk?.read(block * BLOCK, data)
        if (data.some((byte) => byte !== value)) throw new Error(`seed ${SEED}: block ${block} is not what was written`)
        done++
      }
    })
    let remains = 0
    // On a busy host a kill may find nothing in flight: then it is killed more often.
    for (let kill = 0; kill < KILLS || (remains === 0 && kill < MOST_KILLS); kill++) {
      const before = done
      await until(() => done > before + 50 + random(100))
      await backend.end('SIGKILL')
      remains += guest.recorded()
      guest.disconnect()
      backend = await BackendChild.start(args)
      await guest.reconnect(socket)
    }
    stop = true
    for (const worker of workers) await worker
    expect(done).toBeGreaterThan(KILLS * 50)
    // Otherwise it was killed while it had nothing to do.
    expect(remains).toBeGreaterThan(0)
    const got = new Uint8Array(BLOCK)
    for (let block = 0; block < BLOCKS; block++) {
      await guest.disks[0]?.read(block * BLOCK, got)
      expect(
        got.every((byte) => byte === content[block]),
        `seed ${SEED}: block ${block}`,
      ).toBe(true)
    }
    guest.close()
    expect(await backend.end('SIGTERM')).toBe(0)
    expect(backend.said).toBe(`serving '${image}' at ${socket}\n`)
  })
})

async function until(condition: () => boolean): Promise<void> {
  for (let i = 0; i < 20_000; i++) {
    if (condition()) return
    await new Promise((resolve) => setTimeout(resolve, 1))
  }
  throw new Error('it never came')
}
