// The driver under a real graph: permissions reach the locks, a reopen changes access and limits, nothing stays open.

import { readdirSync, readFileSync, readlinkSync, writeFileSync } from 'node:fs'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { BLK_PERM_ALL, BLK_PERM_CONSISTENT_READ, BLK_PERM_WRITE } from '../../../../src/common/permissions.js'
import { createFileDriver } from '../../../../src/drivers/file/driver.js'
import type { FilePlatform } from '../../../../src/drivers/file/platform.js'
import { rawDriver } from '../../../../src/drivers/raw.js'
import { createBackend } from '../../../../src/global-state/backend.js'
import { BlockGraph } from '../../../../src/global-state/graph.js'
import { closeNode } from '../../../../src/global-state/life/close.js'
import { openNode } from '../../../../src/global-state/life/open.js'
import { reopenNodes } from '../../../../src/global-state/life/reopen.js'
import { withDrained } from '../../../../src/io/drained.js'
import { failure, native, pattern, platforms, scratchFolder } from './support.js'

const WRITER = BLK_PERM_CONSISTENT_READ | BLK_PERM_WRITE

let folder: ReturnType<typeof scratchFolder>
let path: string

beforeEach(() => {
  folder = scratchFolder()
  path = folder.path('disk.img')
  writeFileSync(path, pattern(65_536))
})
afterEach(() => folder.remove())

function openHere(): number {
  const targets = readdirSync('/proc/self/fd').map((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`)
    } catch {
      return ''
    }
  })
  return targets.filter((target) => target === path).length
}

async function world(platform: FilePlatform, shared: number, options: Record<string, unknown> = {}, perm = WRITER) {
  const graph = new BlockGraph({ drivers: [createFileDriver(platform), rawDriver] })
  const backend = await graph.mainLoop(async (main) => {
    const node = await openNode(main, graph, {
      driver: 'raw',
      'node-name': 'top',
      ...options,
      file: { driver: 'file', filename: path, 'node-name': 'low' },
    })
    const made = await createBackend(main, graph, { perm, shared, node }).catch((thrown: unknown) => thrown)
    return made as Awaited<ReturnType<typeof createBackend>>
  })
  return { graph, backend }
}

describe.each(platforms)('a file in a graph %s', (_name, platform) => {
  it('serves requests of any alignment, buffered and then direct after a reopen', async () => {
    const { graph, backend } = await world(platform, BLK_PERM_ALL)
    await backend.write(1001, new Uint8Array(10).fill(7))
    await graph.mainLoop(async (main) => {
      const top = graph.node('top')
      const low = graph.node('low')
      if (top === undefined || low === undefined) throw new Error('the nodes are gone')
      await withDrained([top, low], (quiet) =>
        reopenNodes(main, quiet, [{ node: low, options: { 'cache.direct': true }, keepOld: true }]),
      )
      expect(low.state.limits.requestAlignment).toBeGreaterThanOrEqual(512)
    })
    await backend.write(2001, new Uint8Array(10).fill(8))
    await backend.writeZeroes(3001, 100)
    const into = new Uint8Array(4000)
    await backend.read(501, into)
    await backend.flush()
    await graph.mainLoop((main) => backend.close(main))
    const expected = Buffer.from(pattern(65_536)).fill(7, 1001, 1011).fill(8, 2001, 2011).fill(0, 3001, 3101)
    expect(Buffer.compare(readFileSync(path), expected)).toBe(0)
    expect(Buffer.compare(into, expected.subarray(501, 4501))).toBe(0)
  })

  it('closes the file with the last user', async () => {
    const { graph, backend } = await world(platform, BLK_PERM_ALL)
    expect(openHere()).toBe(1)
    await graph.mainLoop(async (main) => {
      await backend.close(main)
      const top = graph.node('top')
      if (top !== undefined) await closeNode(main, top)
    })
    await vi.waitFor(() => expect(openHere()).toBe(0))
  })
})

describe.skipIf(native === undefined)('two graphs and one file', () => {
  it('respect each other as two processes do', async () => {
    const platform = platforms.at(-1)?.[1] as FilePlatform
    const first = await world(platform, BLK_PERM_ALL & ~BLK_PERM_WRITE)
    const second = await world(platform, BLK_PERM_ALL)
    const refused = await failure(() => Promise.reject(second.backend))
    expect([refused.code, refused.node]).toEqual(['EAGAIN', 'low'])
    await first.graph.mainLoop((main) => first.backend.close(main))
  })
})
