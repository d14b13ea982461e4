// One test's disk: a graph, the node under test and a backend on it, and the checks that they leave nothing behind.

import { BLK_PERM_ALL, BLK_PERM_CONSISTENT_READ, BLK_PERM_RESIZE, BLK_PERM_WRITE } from '../../common/permissions.js'
import { type BlockBackend, createBackend } from '../../global-state/backend.js'
import { BlockGraph } from '../../global-state/graph.js'
import { closeNode } from '../../global-state/life/close.js'
import { openNode } from '../../global-state/life/open.js'
import type { NodeState } from '../../global-state/node-state.js'
import { check, type DriverFixture, type DriverSupports, type FixtureFactory } from './suite.js'

/** A disk under test. */
export interface TestDisk {
  readonly graph: BlockGraph
  readonly node: NodeState
  readonly backend: BlockBackend
}

/** Opens a disk, runs `body`, closes everything and checks that nothing is left in the graph or in flight. */
export async function withDisk(
  factory: FixtureFactory,
  supports: DriverSupports,
  size: number,
  body: (disk: TestDisk) => Promise<void>,
): Promise<void> {
  const fixture = await factory(size)
  try {
    const disk = await openDisk(fixture, supports)
    try {
      await body(disk)
    } finally {
      await closeDisk(disk)
    }
    checkNothingLeft(disk)
  } finally {
    await fixture.cleanup?.()
  }
}

async function openDisk(fixture: DriverFixture, supports: DriverSupports): Promise<TestDisk> {
  const { drivers, services = {}, secrets = {} } = fixture
  const graph = new BlockGraph({ drivers, services })
  for (const [id, data] of Object.entries(secrets)) graph.secrets.define(id, data)
  return await graph.mainLoop(async (main) => {
    const writable = supports.write ?? true
    const discard = writable ? { discard: 'unmap' } : { 'read-only': true }
    const node = await openNode(main, graph, { ...discard, ...fixture.options })
    const perm = writable ? BLK_PERM_CONSISTENT_READ | BLK_PERM_WRITE | BLK_PERM_RESIZE : BLK_PERM_CONSISTENT_READ
    const backend = await createBackend(main, graph, { perm, shared: BLK_PERM_ALL, node })
    return { graph, node, backend }
  }, 'open the disk under test')
}

async function closeDisk({ graph, node, backend }: TestDisk): Promise<void> {
  await graph.mainLoop(async (main) => {
    await backend.close(main)
    await closeNode(main, node)
  }, 'close the disk under test')
}

function checkNothingLeft({ graph, node }: TestDisk): void {
  check(graph.nodes.size === 0, `nodes left after close: ${[...graph.nodes.keys()].join(', ')}`)
  check(graph.backends.size === 0, 'a backend is left after close')
  check(node.closed, 'the node is not closed')
  check(node.state.inFlight === 0, `${node.state.inFlight} requests in flight after close`)
  check(node.state.quiesceCounter === 0, 'the node is still drained after close')
}

/** Reads a range into a buffer that held something else. */
export async function readBack(disk: TestDisk, offset: number, bytes: number): Promise<Uint8Array> {
  const into = new Uint8Array(bytes).fill(0xa5)
  await disk.backend.read(offset, into)
  return into
}
