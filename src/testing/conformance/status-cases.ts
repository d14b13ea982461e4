// Conformance: block status tells the truth. Ranges cover the disk, ZERO reads as zeroes, and what has a valid offset is
// found in the file at that place.

import { BDRV_BLOCK_DATA, BDRV_BLOCK_EOF, BDRV_BLOCK_OFFSET_VALID, BDRV_BLOCK_ZERO } from '../../common/block-status.js'
import { BLK_PERM_ALL, BLK_PERM_CONSISTENT_READ } from '../../common/permissions.js'
import { BDRV_REQ_MAY_UNMAP } from '../../common/request.js'
import { KiB } from '../../common/units.js'
import { createBackend } from '../../global-state/backend.js'
import type { NodeState } from '../../global-state/node-state.js'
import { type BlockStatus, blockStatus } from '../../io/block-status.js'
import { readBack, type TestDisk, withDisk } from './open-disk.js'
import { check, checkSame, type DriverSupports, type FixtureFactory, pattern, type SuiteApi } from './suite.js'

const SIZE = 512 * KiB

/** Declares the cases. */
export function statusCases(factory: FixtureFactory, supports: DriverSupports, { it }: SuiteApi): void {
  const disk = (body: (disk: TestDisk) => Promise<void>) => () => withDisk(factory, supports, SIZE, body)
  it('reports a status of a new disk that is true', disk(checkStatus))
  if (!(supports.write ?? true) || !(supports.keepsData ?? true)) return
  it(
    'reports a status after writes, zeroes and discards that is true',
    disk(async (test) => {
      const { backend } = test
      await backend.write(64 * KiB, pattern(128 * KiB, 1))
      await backend.write(300_001, pattern(5, 2))
      await backend.writeZeroes(100_000, 20_000)
      await backend.writeZeroes(320 * KiB, 128 * KiB, { flags: BDRV_REQ_MAY_UNMAP })
      await backend.write(SIZE - 1, pattern(1, 3))
      await backend.discard(128 * KiB, 64 * KiB)
      await checkStatus(test)
    }),
  )
  if (!(supports.reportsZeroes ?? false)) return
  it(
    'reports zeroes where a large range was zeroed with leave to unmap',
    disk(async (test) => {
      await test.backend.write(0, pattern(SIZE, 4))
      await test.backend.writeZeroes(128 * KiB, 256 * KiB, { flags: BDRV_REQ_MAY_UNMAP })
      const status = await blockStatus(test.node, 128 * KiB, 256 * KiB, 'precise')
      check((status.bits & BDRV_BLOCK_ZERO) !== 0, `bits ${status.bits} do not say ZERO`)
      check(status.bytes === 256 * KiB, `only ${status.bytes} bytes are said to be zero`)
    }),
  )
}

/** Walks the whole disk in pieces of several sizes and holds every answer against what can be read. */
export async function checkStatus(test: TestDisk): Promise<void> {
  const { length } = test.node.state
  for (const step of [length, 64 * KiB, 4 * KiB + 512]) {
    for (const mode of ['precise', 'fast'] as const) {
      let offset = 0
      while (offset < length) {
        const asked = Math.min(step, length - offset)
        const status = await blockStatus(test.node, offset, asked, mode)
        check(status.bytes > 0 && status.bytes <= asked, `${status.bytes} bytes at ${offset} of ${asked} asked for`)
        const reachesEnd = offset + status.bytes === length
        check(((status.bits & BDRV_BLOCK_EOF) !== 0) === reachesEnd, `EOF is wrong at ${offset}+${status.bytes}`)
        await checkExtent(test, offset, status)
        offset += status.bytes
      }
    }
  }
  const end = await blockStatus(test.node, length, 512)
  check(end.bytes === 0 && (end.bits & BDRV_BLOCK_EOF) !== 0, 'the end is not reported as EOF')
}

async function checkExtent(test: TestDisk, offset: number, status: BlockStatus): Promise<void> {
  const { bits, bytes } = status
  const read = await readBack(test, offset, bytes)
  const where = `${offset}+${bytes}, bits ${bits}`
  if ((bits & BDRV_BLOCK_ZERO) !== 0) checkSame(read, new Uint8Array(bytes), `said to be zero at ${where}`)
  const found = BDRV_BLOCK_DATA | BDRV_BLOCK_OFFSET_VALID
  if ((bits & found) !== found || status.file === undefined || status.map === undefined) return
  const file = test.graph.nodes.get(status.file.nodeName)
  check(file !== undefined, `the file of ${where} is no node of the graph`)
  checkSame(await readAt(test, file, status.map, bytes), read, `in ${file.nodeName} at ${status.map}, for ${where}`)
}

async function readAt(test: TestDisk, node: NodeState, offset: number, bytes: number): Promise<Uint8Array> {
  if (node === test.node) return await readBack(test, offset, bytes)
  const { graph } = test
  const backend = await graph.mainLoop((main) =>
    createBackend(main, graph, { perm: BLK_PERM_CONSISTENT_READ, shared: BLK_PERM_ALL, node }),
  )
  try {
    const into = new Uint8Array(bytes)
    // What was never written may lie behind the end of the file, where it reads as zeroes.
    const present = Math.min(Math.max(node.state.length - offset, 0), bytes)
    if (present > 0) await backend.read(offset, into.subarray(0, present))
    return into
  } finally {
    await graph.mainLoop((main) => backend.close(main))
  }
}
