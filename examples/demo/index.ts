// The main job on real input: an image file with real content, opened as a graph, under a virtio-blk device whose guest reads
// and writes with many requests in flight while a filter is inserted and a node replaced under it; then the same on a qcow2
// overlay, with a snapshot taken under it and a commit at the end. Every byte is verified.
// Usage: node build/examples/demo [output folder]

import { mkdir, rm } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { type BlockBackend, BlockError, type BlockGraph, closeNode, createGraph, MiB } from 'blockgraph/node'
import { dropThrottle, insertThrottle, moveToReplacement, openUnderDevice } from './edits.js'
import { Guest } from './guest.js'
import { buildImage, digestFile } from './image.js'
import { commitAndCheck, openOverlay, snapshotOverlay } from './overlay.js'
import { drawGraph } from './pictures.js'
import { printTable, type TimedEdit } from './table.js'

const IMAGE_SIZE = 64 * MiB

async function main(): Promise<void> {
  const folder = process.argv[2] ?? 'demo-output'
  const image = join(folder, 'disk.img')
  const replacement = join(folder, 'disk-replaced.img')
  await rm(folder, { recursive: true, force: true })
  await mkdir(folder, { recursive: true })
  const content = await buildImage(image, replacement, IMAGE_SIZE)
  console.log(
    `image    ${image}: ${content.files} files of this project, ${content.archiveBytes} bytes; a pattern; a hole`,
  )

  const graph = createGraph()
  const notices = new Set<string>()
  graph.trace.listen((name, event) => {
    if (name === 'notice' && 'message' in event) notices.add(event.message)
  })
  const backend = await openUnderDevice(graph, image)
  const guest = new Guest(backend.root, content.bytes)
  const edits = await editUnderLoad(graph, guest, folder, replacement)
  await guest.flush()
  await guest.verifyAll()
  printTable(guest.report(), backend.accounting, edits)
  await guest.close()
  await closeAll(graph, backend)

  const digest = await digestFile(replacement)
  if (digest !== guest.expectedDigest())
    throw new BlockError('EIO', `${replacement} does not hold what the guest wrote`)
  console.log(`verified every byte through the ring and in ${replacement} (sha256 ${digest.slice(0, 16)}...)`)
  await runOverlay(graph, folder, replacement, content.bytes)
  for (const notice of notices) console.log(`note     ${notice}`)
  console.log(`pictures ${join(folder, '*.svg')}`)
}

/** Runs the guest and changes the graph under it. The pictures show the graph between and inside the edits. */
async function editUnderLoad(
  graph: BlockGraph,
  guest: Guest,
  folder: string,
  replacement: string,
): Promise<TimedEdit[]> {
  const draw = (name: string) => drawGraph(graph, join(folder, name))
  const load = guest.run()
  // A load that fails ends the demo, whatever it waits for.
  const alongside = <T>(step: Promise<T>): Promise<T> => Promise.race([load.then(() => step), step])
  await alongside(guest.more(20_000))
  await draw('1-device-on-file.svg')
  const inserting = await insertThrottle(graph)
  await alongside(guest.more(4_000))
  await draw('2-throttled-under-load.svg')
  const moving = await moveToReplacement(graph, replacement, () => draw('3-replacing-in-a-drained-section.svg'))
  await alongside(guest.more(4_000))
  await draw('4-node-replaced.svg')
  const dropping = await dropThrottle(graph)
  await alongside(guest.more(20_000))
  await draw('5-filter-dropped.svg')
  guest.stop()
  await load
  return [
    { what: 'insert filter', ms: inserting },
    { what: 'copy and replace node', ms: moving },
    { what: 'drop filter', ms: dropping },
  ]
}

/** The guest goes on, on an overlay; in the end the base holds all that it wrote. */
async function runOverlay(graph: BlockGraph, folder: string, base: string, expected: Uint8Array): Promise<void> {
  const overlay = join(folder, 'overlay.qcow2')
  const backend = await openOverlay(graph, overlay, basename(base))
  const guest = new Guest(backend.root, expected)
  const load = guest.run()
  const alongside = <T>(step: Promise<T>): Promise<T> => Promise.race([load.then(() => step), step])
  await alongside(guest.more(8_000))
  const snapshot = await snapshotOverlay(graph, 'under load')
  await alongside(guest.more(4_000))
  await drawGraph(graph, join(folder, '6-overlay-under-load.svg'))
  guest.stop()
  await load
  await guest.flush()
  await guest.verifyAll()
  console.log(`overlay  ${overlay} on ${base}`)
  printTable(guest.report(), backend.accounting, [{ what: 'take snapshot', ms: snapshot }])
  await guest.close()
  const found = await commitAndCheck(graph, backend, overlay)
  if ((await digestFile(base)) !== guest.expectedDigest()) {
    throw new BlockError('EIO', `${base} does not hold what was committed to it`)
  }
  console.log(`commit   every byte is in ${base}; the overlay is ${found}`)
}

async function closeAll(graph: BlockGraph, backend: BlockBackend): Promise<void> {
  await graph.mainLoop(async (main) => {
    await backend.close(main)
    await closeNode(main, graph.node('disk2'))
  })
  if (graph.nodes.size > 0) throw new BlockError('EBUSY', `left open: ${[...graph.nodes.keys()].join(', ')}`)
}

await main()
