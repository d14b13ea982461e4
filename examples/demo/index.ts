// The main job on real input: an image file with real content, opened as a graph, under a virtio-blk device whose guest reads
// and writes with many requests in flight while a filter is inserted and a node replaced under it. Every byte is verified.
// Usage: node build/examples/demo/index.js [output folder]

import { mkdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { performance } from 'node:perf_hooks'
import {
  BLK_PERM_CONSISTENT_READ,
  BLK_PERM_WRITE,
  type BlockBackend,
  BlockError,
  type BlockGraph,
  type BlockStatus,
  blockStatusAbove,
  closeNode,
  copyRange,
  createBackend,
  createGraph,
  drained,
  dropFilter,
  insertNode,
  MiB,
  measureLatency,
  openNode,
  replaceNode,
} from 'blockgraph/node'
import { Guest } from './guest.js'
import { buildImage, digestFile } from './image.js'
import { drawGraph } from './pictures.js'
import { printTable } from './table.js'

const IMAGE_SIZE = 64 * MiB

async function main(): Promise<void> {
  const folder = process.argv[2] ?? 'demo-output'
  await rm(folder, { recursive: true, force: true })
  await mkdir(folder, { recursive: true })
  const image = join(folder, 'disk.img')
  const replacement = join(folder, 'disk-replaced.img')
  const content = await buildImage(image, replacement, IMAGE_SIZE)
  console.log(
    `image    ${image}: ${content.files} files of this project in ${content.archiveBytes} bytes, the rest a pattern`,
  )

  const graph = createGraph()
  const notices = new Set<string>()
  const drains: number[] = []
  graph.trace.listen((name, event) => {
    if (name === 'notice' && 'message' in event) notices.add(event.message)
  })
  const backend = await openUnderDevice(graph, image)
  measureLatency(backend.root, true)
  const guest = new Guest(backend.root, content.bytes)
  await drawGraph(graph, join(folder, '1-device-on-file.svg'))

  const load = guest.run()
  await guest.until(20_000)
  await timed(drains, () => insertThrottle(graph))
  await guest.untilMore(4_000)
  await drawGraph(graph, join(folder, '2-throttled-under-load.svg'))
  await timed(drains, () => moveToReplacement(graph, replacement))
  await drawGraph(graph, join(folder, '3-node-replaced.svg'))
  await guest.untilMore(4_000)
  await timed(drains, () => dropThrottle(graph))
  await drawGraph(graph, join(folder, '4-filter-dropped.svg'))
  await guest.untilMore(20_000)
  guest.stop()
  await load
  await guest.flush()
  await guest.verifyAll()

  printTable(guest.report(), backend.accounting, drains)
  await guest.close()
  await graph.mainLoop((main) => closeAll(main, graph, backend))
  const digest = await digestFile(replacement)
  if (digest !== guest.expectedDigest())
    throw new BlockError('EIO', `${replacement} does not hold what the guest wrote`)
  console.log(`verified every byte through the ring and in ${replacement} (sha256 ${digest.slice(0, 16)}...)`)
  for (const notice of notices) console.log(`note     ${notice}`)
  console.log(`pictures ${folder}/*.svg`)
}

function openUnderDevice(graph: BlockGraph, filename: string): Promise<BlockBackend> {
  return graph.mainLoop(async (main) => {
    const disk = await openNode(main, graph, {
      driver: 'raw',
      'node-name': 'disk',
      discard: 'unmap',
      file: { driver: 'file', 'node-name': 'disk-file', filename },
    })
    return createBackend(main, graph, {
      name: 'vda',
      node: disk,
      perm: BLK_PERM_CONSISTENT_READ | BLK_PERM_WRITE,
      shared: BLK_PERM_CONSISTENT_READ,
    })
  }, 'open the disk')
}

function insertThrottle(graph: BlockGraph): Promise<void> {
  return graph.mainLoop(async (main) => {
    const disk = graph.node('disk')
    const quiet = await drained(disk)
    try {
      await insertNode(main, graph, quiet, disk, {
        driver: 'throttle',
        'node-name': 'limit',
        'limits.iops-total': 20_000,
      })
    } finally {
      quiet.end()
    }
  }, 'insert a throttle')
}

/** Copies the disk inside a drained section, so that nothing changes meanwhile, and puts the copy in its place. */
function moveToReplacement(graph: BlockGraph, filename: string): Promise<void> {
  return graph.mainLoop(async (main) => {
    const source = graph.node('disk')
    const target = await openNode(main, graph, {
      driver: 'raw',
      'node-name': 'disk2',
      discard: 'unmap',
      file: { driver: 'file', filename },
    })
    const quiet = await drained(source, target)
    try {
      await copyNode(main, graph, source.nodeName, target.nodeName)
      await replaceNode(main, graph, quiet, source, target)
    } finally {
      quiet.end()
    }
    await closeNode(main, graph, source)
  }, 'replace the disk')
}

/** Copies what the source has data for. A client that does its own holding may work inside a section it opened. */
async function copyNode(
  main: Parameters<typeof createBackend>[0],
  graph: BlockGraph,
  from: string,
  to: string,
): Promise<void> {
  const source = await createBackend(main, graph, { node: graph.node(from), holdWhileDrained: false })
  const target = await createBackend(main, graph, {
    node: graph.node(to),
    perm: BLK_PERM_WRITE,
    holdWhileDrained: false,
  })
  try {
    const { length } = source
    for (let at = 0; at < length; ) {
      const status: BlockStatus = await blockStatusAbove(graph.node(from), undefined, at, Math.min(length - at, MiB))
      await copyPiece(source, target, at, status.bytes)
      at += status.bytes
    }
    await target.flush()
  } finally {
    await target.close(main)
    await source.close(main)
  }
}

async function copyPiece(source: BlockBackend, target: BlockBackend, offset: number, bytes: number): Promise<void> {
  const { edge: from } = source
  const { edge: to } = target
  if (from === undefined || to === undefined) throw new BlockError('ENOMEDIUM', 'nothing to copy')
  try {
    await copyRange(from, offset, to, offset, bytes)
  } catch (error) {
    if (!(error instanceof BlockError) || error.code !== 'ENOTSUP') throw error
    const buffer = new Uint8Array(bytes)
    await source.read(offset, buffer)
    await target.write(offset, buffer)
  }
}

function dropThrottle(graph: BlockGraph): Promise<void> {
  return graph.mainLoop(async (main) => {
    const quiet = await drained(graph.node('limit'), graph.node('disk2'))
    try {
      await dropFilter(main, graph, quiet, graph.node('limit'))
    } finally {
      quiet.end()
    }
  }, 'drop the throttle')
}

async function closeAll(
  main: Parameters<typeof createBackend>[0],
  graph: BlockGraph,
  backend: BlockBackend,
): Promise<void> {
  await backend.close(main)
  await closeNode(main, graph, graph.node('disk2'))
}

async function timed(times: number[], act: () => Promise<void>): Promise<void> {
  const began = performance.now()
  await act()
  times.push(performance.now() - began)
}

await main()
