// Compressed clusters between us and the real tools, by both methods, in clusters of all sizes.

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { BLK_PERM_ALL } from '../../src/common/permissions.js'
import { BDRV_REQ_WRITE_COMPRESSED } from '../../src/common/request.js'
import { MiB } from '../../src/common/units.js'
import { createBackend } from '../../src/global-state/backend.js'
import { closeNode } from '../../src/global-state/life/close.js'
import { openNode } from '../../src/global-state/life/open.js'
import { createGraph } from '../../src/platform/open-disk.js'
import { peer } from '../support/peers.js'

let folder = ''
const path = (name: string): string => join(folder, name)

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'blockgraph-compression-'))
})

afterAll(() => rmSync(folder, { recursive: true, force: true }))

/** Text, noise and zeroes in turn: what packs well, what does not, and what needs no cluster. */
function sample(size: number): Uint8Array {
  const data = new Uint8Array(size)
  let state = 1
  for (let at = 0; at < size; at += 1) {
    state = (Math.imul(state, 1103515245) + 12345) >>> 0
    const kind = (at >> 17) % 3
    data[at] = kind === 0 ? (state >>> 16) & 15 : kind === 1 ? state >>> 24 : 0
  }
  return data
}

const cases = ['zlib', 'zstd'].flatMap((method) => [512, 4096, 65536, 2097152].map((cluster) => ({ method, cluster })))

test.each(cases)('$method in clusters of $cluster', async ({ method, cluster }) => {
  const qemu = peer('qemu-img')
  // Not a whole number of clusters, and not too many of them.
  const data = sample(Math.min(4 * MiB, cluster * 1024) - 512)
  writeFileSync(path('plain'), data)
  const options = `compression_type=${method},cluster_size=${cluster}`
  qemu.check(['convert', '-c', '-f', 'raw', '-O', 'qcow2', '-o', options, path('plain'), path('theirs')])
  expect(Buffer.compare(await readAll('theirs', data.length), data)).toBe(0)
  qemu.check(['create', '-q', '-f', 'qcow2', '-o', options, path('ours'), String(data.length)])
  await writeCompressed('ours', data, cluster)
  expect(qemu.check(['check', '-f', 'qcow2', path('ours')])).toMatch(/No errors.*[1-9][0-9.]*% compressed clusters/s)
  qemu.check(['convert', '-f', 'qcow2', '-O', 'raw', path('ours'), path('back')])
  expect(readFileSync(path('back')).equals(Buffer.from(data))).toBe(true)
})

async function readAll(name: string, size: number): Promise<Uint8Array> {
  const into = new Uint8Array(size)
  await withImage(name, (backend) => backend.read(0, into))
  return into
}

/** Cluster by cluster, several at once. */
function writeCompressed(name: string, data: Uint8Array, cluster: number): Promise<void> {
  const piece = Math.max(cluster, 65536)
  return withImage(name, async (backend) => {
    const writes: Promise<void>[] = []
    for (let at = 0; at < data.length; at += piece) {
      writes.push(backend.write(at, data.subarray(at, at + piece), { flags: BDRV_REQ_WRITE_COMPRESSED }))
    }
    await Promise.all(writes)
  })
}

async function withImage(
  name: string,
  act: (backend: Awaited<ReturnType<typeof createBackend>>) => Promise<void>,
): Promise<void> {
  const graph = createGraph()
  const { node, backend } = await graph.mainLoop(async (main) => {
    const opened = await openNode(main, graph, { driver: 'qcow2', file: { driver: 'file', filename: path(name) } })
    return {
      node: opened,
      backend: await createBackend(main, graph, { perm: BLK_PERM_ALL, shared: BLK_PERM_ALL, node: opened }),
    }
  })
  try {
    await act(backend)
  } finally {
    await graph.mainLoop(async (main) => {
      await backend.close(main)
      await closeNode(main, node)
    })
  }
}
