// What a large image keeps in memory: random requests all over 1 TiB, through caches of a given size. Bytes of tables held, and
// what heap and buffers have grown by since the image was opened.

import { rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { BLK_PERM_ALL, createBackend, createImage, openNode, qcow2Driver, stateOf } from 'blockgraph'
import { createGraph } from 'blockgraph/node'

const TIB = 2 ** 40
const REQUESTS = 20_000
const PAGE = 4096

const filename = join(tmpdir(), `blockgraph-bench-${process.pid}.qcow2`)
const graph = createGraph()
try {
  console.log(JSON.stringify(await measure()))
} finally {
  rmSync(filename, { force: true })
}

async function measure(): Promise<Record<string, number>> {
  const { node, backend } = await graph.mainLoop(async (main) => {
    await createImage(main, graph, { filename, format: 'qcow2', size: TIB })
    const options = { driver: 'qcow2', 'l2-cache-size': '2M', file: { driver: 'file', filename } }
    const opened = await openNode(main, graph, options)
    const shared = { perm: BLK_PERM_ALL, shared: BLK_PERM_ALL }
    return { node: opened, backend: await createBackend(main, graph, { node: opened, ...shared }) }
  })
  const page = new Uint8Array(PAGE).fill(1)
  const before = used()
  let seed = 1
  for (let i = 0; i < REQUESTS; i++) {
    seed = (Math.imul(seed, 1103515245) + 12345) >>> 0
    const offset = Math.floor((seed / 2 ** 32) * (TIB / PAGE)) * PAGE
    if (i % 10 === 0) await backend.write(offset, page)
    else await backend.read(offset, page)
  }
  const { l2Cache, refcountCache } = stateOf(node, qcow2Driver)
  const tables = l2Cache.size * l2Cache.entryBytes + refcountCache.size * refcountCache.entryBytes
  const grown = used() - before
  await backend.flush()
  return { tables, grown }
}

function used(): number {
  for (let i = 0; i < 4; i++) globalThis.gc?.()
  const { heapUsed, external } = process.memoryUsage()
  return heapUsed + external
}
