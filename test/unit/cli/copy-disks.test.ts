import { expect, test } from 'vitest'
import { type CopyTask, copyDisks } from '../../../src/cli/img/copy-disks.js'
import { Progress } from '../../../src/cli/progress.js'
import { RateLimit } from '../../../src/cli/rate-limit.js'
import type { OpenImage } from '../../../src/cli/session.js'
import { BDRV_BLOCK_DATA, BDRV_BLOCK_OFFSET_VALID, BDRV_BLOCK_ZERO } from '../../../src/common/block-status.js'
import { BlockError } from '../../../src/common/error.js'
import { BLK_PERM_CONSISTENT_READ, BLK_PERM_WRITE } from '../../../src/common/permissions.js'
import { MiB } from '../../../src/common/units.js'
import { createBackend } from '../../../src/global-state/backend.js'
import { defineDriver } from '../../../src/global-state/driver.js'
import { BlockGraph } from '../../../src/global-state/graph.js'
import { openNode } from '../../../src/global-state/life/open.js'
import type { NodeIo } from '../../../src/io/node-io.js'
import { recordingTool } from './recording-tool.js'

/** Opens `io` as an image. */
async function openImage(name: string, io: NodeIo): Promise<OpenImage> {
  const driver = defineDriver({ name: 'test', kind: 'protocol', options: {}, open: () => ({ io, state: undefined }) })
  const graph = new BlockGraph({ drivers: [driver] })
  return graph.mainLoop(async (main) => {
    const node = await openNode(main, graph, { driver: 'test', discard: 'unmap' })
    const perm = BLK_PERM_CONSISTENT_READ | (io.write === undefined ? 0 : BLK_PERM_WRITE)
    return { name, node, backend: await createBackend(main, graph, { node, perm }) }
  })
}

const later = () => new Promise<void>((resolve) => setImmediate(resolve))

/** A source of `megabytes` whose first byte of each 2 MiB is its number; odd ones take longer. `holes` are never read. */
function source(megabytes: number, options: { holes?: number[]; broken?: number } = {}): NodeIo {
  const isHole = (offset: number) => options.holes?.includes(Math.floor(offset / (2 * MiB))) === true
  return {
    length: () => megabytes * MiB,
    async read(offset, into) {
      const piece = Math.floor(offset / (2 * MiB))
      expect(isHole(offset)).toBe(false)
      if (options.broken !== undefined && offset <= options.broken && offset + into.byteLength > options.broken) {
        throw new BlockError('EIO', 'broken')
      }
      await later()
      if (piece % 2 === 1) await later()
      if (into instanceof Uint8Array) into.fill(piece + 1)
    },
    blockStatus(offset, bytes) {
      const inPiece = 2 * MiB - (offset % (2 * MiB))
      const bits = isHole(offset) ? BDRV_BLOCK_ZERO : BDRV_BLOCK_DATA
      return { bits: bits | BDRV_BLOCK_OFFSET_VALID, bytes: Math.min(bytes, inPiece), map: offset }
    },
  }
}

function target(megabytes: number, failAt?: number) {
  const log: string[] = []
  const busy = { now: 0, most: 0 }
  const note = async (what: string, offset: number, bytes: number) => {
    if (offset === failAt) throw new BlockError('ENOSPC', 'full')
    log.push(`${what} ${offset / MiB} ${bytes / MiB}`)
    busy.now++
    busy.most = Math.max(busy.most, busy.now)
    await later()
    busy.now--
  }
  const io: NodeIo = {
    length: () => megabytes * MiB,
    read: () => {},
    write: (offset, data) => note('write', offset, data.byteLength),
    writeZeroes: (offset, bytes) => note('zero', offset, bytes),
  }
  return { io, log, busy }
}

async function copy(sources: readonly NodeIo[], to: NodeIo, options: Partial<CopyTask> = {}) {
  const tool = recordingTool()
  const opened: OpenImage[] = []
  for (const io of sources) opened.push(await openImage('source', io))
  const task: CopyTask = {
    sources: opened,
    target: await openImage('target', to),
    tool,
    rate: new RateLimit(0, { now: () => 0 }),
    progress: new Progress(tool, false, 1),
    inFlight: 4,
    inOrder: true,
    sparse: 4096,
    alignment: 4096,
    targetIsZero: false,
    offload: false,
    salvage: false,
    backingBytes: undefined,
    compressedCluster: undefined,
    ...options,
  }
  await copyDisks(task)
  return tool
}

test('writes go in the order of the disk, sources one behind the other, holes as zero writes', async () => {
  const { io, log } = target(12)
  await copy([source(8, { holes: [1] }), source(4)], io)
  expect(log).toEqual(['write 0 2', 'zero 2 2', 'write 4 2', 'write 6 2', 'write 8 2', 'write 10 2'])
})

test('a target that is zero already is not zeroed', async () => {
  const { io, log } = target(4)
  await copy([source(4, { holes: [0] })], io, { targetIsZero: true })
  expect(log).toEqual(['write 2 2'])
})

test('out of order, as many writes are in flight as allowed', async () => {
  const { io, log, busy } = target(16)
  await copy([source(16)], io, { inOrder: false, inFlight: 3 })
  expect(busy.most).toBeGreaterThan(1)
  expect(busy.most).toBeLessThanOrEqual(3)
  expect(new Set(log).size).toBe(8)
})

test('the first failure is thrown once nothing is in flight, and nothing follows it in order', async () => {
  const { io, log, busy } = target(16, 4 * MiB)
  await expect(copy([source(16)], io)).rejects.toThrow('error while writing at byte 4194304: No space left on device')
  expect(log).toEqual(['write 0 2', 'write 2 2'])
  expect(busy.now).toBe(0)
})

test('what cannot be read ends the copy, or with salvage becomes a sector of zeroes and a warning', async () => {
  const broken = 2 * MiB + 1024
  await expect(copy([source(4, { broken })], target(4).io)).rejects.toThrow(
    'error while reading at byte 2097152: Input/output error',
  )
  const { io, log } = target(4)
  const tool = await copy([source(4, { broken })], io, { salvage: true, sparse: 512, alignment: 512 })
  expect(tool.stderr).toBe(`tool: warning: error while reading offset ${broken}: Input/output error\n`)
  expect(log).toContain(`zero ${broken / MiB} ${512 / MiB}`)
})

test('a rate limit spreads the writes', async () => {
  let now = 0
  const waits: number[] = []
  const sleep = async (ms: number) => {
    waits.push(ms)
    now += ms
  }
  await copy([source(6)], target(6).io, { rate: new RateLimit(2 * MiB, { now: () => now }, sleep) })
  expect(waits).toEqual([1000, 1000])
})
