// Everything a program may do to an image, to one that may be damaged: each step ends in success or in a BlockError, soon.

import { BDRV_FIX_ERRORS, BDRV_FIX_LEAKS } from '../../../src/common/block-info.js'
import { BlockError } from '../../../src/common/error.js'
import type { HostServices } from '../../../src/common/host-services.js'
import { BDRV_O_CHECK } from '../../../src/common/open-flags.js'
import {
  BLK_PERM_ALL,
  BLK_PERM_CONSISTENT_READ,
  BLK_PERM_RESIZE,
  BLK_PERM_WRITE,
} from '../../../src/common/permissions.js'
import { BDRV_REQ_MAY_UNMAP } from '../../../src/common/request.js'
import { builtinDrivers } from '../../../src/drivers/index.js'
import { createBackend } from '../../../src/global-state/backend.js'
import { BlockGraph } from '../../../src/global-state/graph.js'
import { closeNode } from '../../../src/global-state/life/close.js'
import { openNode } from '../../../src/global-state/life/open.js'
import type { MainLoop } from '../../../src/global-state/main-loop.js'
import { applySnapshot, createSnapshot, deleteSnapshot, listSnapshots } from '../../../src/global-state/snapshot.js'
import { blockStatus } from '../../../src/io/block-status.js'
import { type DrainedSection, drained } from '../../../src/io/drained.js'
import { nodeInfo, nodeSpecificInfo } from '../../../src/io/node-info.js'
import { storageDriver, storageOf } from '../../../src/testing/storage/memory-storage.js'

/** What came of using an image. */
export interface Verdict {
  /** It opened. */
  opened: boolean
  /** What went wrong: anything but success and BlockErrors. */
  fault: string | undefined
}

/** Reads of one image, in bytes and pieces. */
const MOST_READ = 64 * 1024
const PIECE = 4096

/** How an image is opened. */
export interface Way {
  writable: boolean
  /** For a check, which opens what is too damaged for anything else. */
  check: boolean
}

/** The ways in which a damaged image is opened; most of them to write, where most can go wrong. */
export const WAYS: readonly Way[] = [
  { writable: false, check: false },
  { writable: true, check: false },
  { writable: true, check: false },
  { writable: false, check: true },
  { writable: true, check: true },
]

/** Opens `bytes`, with a disk in memory as the child called `child`, and uses it. */
export async function exercise(
  bytes: Uint8Array,
  services: HostServices,
  way: Way,
  child: string | undefined,
): Promise<Verdict> {
  const store = storageOf(bytes)
  const graph = new BlockGraph({
    drivers: [...builtinDrivers, storageDriver(store)],
    services,
    namePolicy: () => {
      throw new BlockError('EACCES', 'nothing that an image names is opened here')
    },
  })
  const failures: string[] = []
  let opened = false
  const step = async (name: string, act: () => unknown): Promise<boolean> => {
    try {
      await act()
      return true
    } catch (error) {
      if (!(error instanceof BlockError)) failures.push(`${name}: ${String((error as Error)?.stack ?? error)}`)
      return false
    }
  }
  await step('session', () =>
    graph.mainLoop(async (main) => {
      const low = await openNode(main, graph, { driver: 'memory', 'node-name': 'low', size: '64k' })
      const options = {
        driver: 'qcow2',
        file: { driver: 'storage' },
        backing: null,
        ...(child === undefined ? {} : { [child]: 'low' }),
        'read-only': !way.writable,
        discard: 'unmap',
      }
      const node = await openNode(main, graph, options, { flags: way.check ? BDRV_O_CHECK : 0 })
      opened = true
      const perm = BLK_PERM_CONSISTENT_READ | (way.writable ? BLK_PERM_WRITE | BLK_PERM_RESIZE : 0)
      const backend = await createBackend(main, graph, { node, perm, shared: BLK_PERM_ALL })
      await step('info', () => nodeInfo(node))
      await step('specific info', () => nodeSpecificInfo(node))
      await step('check', () => node.io.check?.(0, () => {}))
      if (way.check && way.writable) {
        await step('repair', () => node.io.check?.(BDRV_FIX_LEAKS | BDRV_FIX_ERRORS, () => {}))
        await step('check after repair', () => node.io.check?.(0, () => {}))
      }
      if (!way.check) {
        await useContent(backend, node, step)
        await useSnapshots(main, node, way, step)
        if (way.writable) await changeContent(backend, step)
      }
      await step('close backend', () => backend.close(main))
      await step('close', () => closeNode(main, node))
      await step('close child', () => closeNode(main, low))
    }),
  )
  return { opened, fault: failures[0] }
}

type Backend = Awaited<ReturnType<typeof createBackend>>
type Node = Awaited<ReturnType<typeof openNode>>

/** The snapshots that the image says it has: listed, and where it is written to, one made, one applied, one deleted. */
async function useSnapshots(main: MainLoop, node: Node, way: Way, step: Step): Promise<void> {
  if (!(await step('list snapshots', () => listSnapshots(node))) || !way.writable) return
  const [first] = listSnapshots(node)
  const inSection = (name: string, act: (quiet: DrainedSection) => Promise<void>) =>
    step(name, async () => {
      const quiet = await drained(node)
      try {
        await act(quiet)
      } finally {
        quiet.end()
      }
    })
  await inSection('take a snapshot', (quiet) => createSnapshot(main, quiet, node, { name: 'new' }))
  if (first === undefined) return
  await inSection('apply a snapshot', (quiet) => applySnapshot(main, quiet, node, { id: first.id }))
  await inSection('delete a snapshot', (quiet) => deleteSnapshot(main, quiet, node, { id: first.id }))
}
type Step = (name: string, act: () => unknown) => Promise<boolean>

/** Positions all over a disk of any length: its start, its end, and some between. */
function positions(length: number): number[] {
  const pieces = Math.min(Math.ceil(length / PIECE), MOST_READ / PIECE)
  const near = Array.from({ length: pieces }, (_, i) => i * PIECE)
  const far = [length / 2, length - PIECE, length - PIECE / 2].map((at) => Math.floor(at / 512) * 512)
  return [...new Set([...near, ...far])].filter((at) => at >= 0 && at < length)
}

async function useContent(backend: Backend, node: Parameters<typeof nodeInfo>[0], step: Step): Promise<void> {
  const { length } = node.state
  for (const at of positions(length)) {
    await step('read', () => backend.read(at, new Uint8Array(Math.min(PIECE, length - at))))
  }
  await step('status', async () => {
    let at = 0
    for (let count = 0; count < 64 && at < length; count++) {
      const status = await blockStatus(node, at, length - at)
      if (status.bytes <= 0) throw new Error(`status of ${status.bytes} bytes at ${at}`)
      at += status.bytes
    }
  })
}

async function changeContent(backend: Backend, step: Step): Promise<void> {
  const length = backend.length
  const [middle, end] = [Math.floor(length / 1024) * 512, Math.max(length - 512, 0)]
  const sector = () => new Uint8Array(Math.min(512, length)).fill(0x5a)
  await step('write', () => backend.write(0, sector()))
  await step('write', () => backend.write(middle, sector()))
  await step('write', () => backend.write(end, sector()))
  await step('zero', () => backend.writeZeroes(0, Math.min(8192, length), { flags: BDRV_REQ_MAY_UNMAP }))
  await step('discard', () => backend.discard(0, Math.min(65536, length)))
  await step('flush', () => backend.flush())
  await step('grow', () => backend.truncate(length + 65536))
  await step('write behind', () => backend.write(length, new Uint8Array(512).fill(1)))
  await step('shrink', () => backend.truncate(512))
  await step('flush', () => backend.flush())
}
