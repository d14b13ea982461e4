import { describe, expect, it } from 'vitest'
import { BlockError } from '../../../src/common/error.js'
import { BDRV_O_RDWR, BDRV_O_UNMAP } from '../../../src/common/open-flags.js'
import { BLK_PERM_ALL, BLK_PERM_RESIZE } from '../../../src/common/permissions.js'
import {
  BDRV_REQ_MAY_UNMAP,
  BDRV_REQ_NO_FALLBACK,
  BDRV_REQ_WRITE_COMPRESSED,
  BDRV_REQ_ZERO_WRITE,
} from '../../../src/common/request.js'
import { discard } from '../../../src/io/discard.js'
import { write } from '../../../src/io/write.js'
import { writeZeroes } from '../../../src/io/write-zeroes.js'
import { codeOf } from '../../support/code-of.js'
import { edgeOn, link, memoryNode, StubNode } from '../../support/stub-graph.js'

const bytes = (length: number, fill = 7) => new Uint8Array(length).fill(fill)

describe('write zeroes', () => {
  it('fall back to a bounce buffer, unless NO_FALLBACK forbids', async () => {
    const { node, io } = memoryNode(bytes(4096, 1), { limits: { maxTransfer: 1024 } })
    const edge = edgeOn(node)
    io.failure = (call) => (call.op === 'write-zeroes' ? new BlockError('ENOTSUP', 'no') : undefined)
    await writeZeroes(edge, 0, 2048)
    expect(io.calls.filter(({ op }) => op === 'write').map((call) => call.bytes)).toEqual([1024, 1024])
    expect(io.bytes.subarray(0, 2049)).toEqual(Uint8Array.from([...bytes(2048, 0), 1]))
    node.state.zeroFlags = BDRV_REQ_NO_FALLBACK
    expect(await codeOf(() => writeZeroes(edge, 0, 512, BDRV_REQ_NO_FALLBACK))).toBe('ENOTSUP')
    node.state.zeroFlags = 0
    expect(await codeOf(() => writeZeroes(edge, 0, 512, BDRV_REQ_NO_FALLBACK))).toBe('ENOTSUP')
  })

  it('keep head and tail within the boundaries of the driver', async () => {
    const { node, io } = memoryNode(65536, { limits: { writeZeroesAlignment: 4096, maxWriteZeroes: 8192 } })
    await writeZeroes(edgeOn(node), 1000, 30000)
    expect(io.calls.map((call) => [call.offset, call.bytes])).toEqual([
      [1000, 3096],
      [4096, 8192],
      [12288, 8192],
      [20480, 8192],
      [28672, 2328],
    ])
  })

  it('refuse an unaligned range under NO_FALLBACK, and strip MAY_UNMAP where the node does not honour it', async () => {
    const { node, io } = memoryNode(4096, {
      limits: { requestAlignment: 512 },
      zeroFlags: BDRV_REQ_MAY_UNMAP | BDRV_REQ_NO_FALLBACK,
    })
    const edge = edgeOn(node)
    expect(await codeOf(() => writeZeroes(edge, 1, 512, BDRV_REQ_NO_FALLBACK))).toBe('ENOTSUP')
    await writeZeroes(edge, 0, 512, BDRV_REQ_MAY_UNMAP)
    node.openFlags = BDRV_O_RDWR
    await writeZeroes(edge, 0, 512, BDRV_REQ_MAY_UNMAP)
    expect(io.calls.map((call) => call.flags)).toEqual([BDRV_REQ_MAY_UNMAP, 0])
  })

  it('come of writes that hold only zeroes, where the node detects them', async () => {
    const { node, io } = memoryNode(bytes(4096, 1), { detectZeroes: 'unmap', zeroFlags: BDRV_REQ_MAY_UNMAP })
    const edge = edgeOn(node)
    await write(edge, 0, bytes(512, 0))
    await write(edge, 512, bytes(512, 1))
    expect(io.calls.map(({ op, flags }) => [op, flags])).toEqual([
      ['write-zeroes', BDRV_REQ_MAY_UNMAP],
      ['write', 0],
    ])
  })

  it('are what a write with ZERO_WRITE is', async () => {
    const { node, io } = memoryNode(4096)
    await write(edgeOn(node), 0, bytes(512), BDRV_REQ_ZERO_WRITE)
    expect(io.calls.map(({ op }) => op)).toEqual(['write-zeroes'])
  })
})

describe('a filter without the method', () => {
  it('gets zeroes as writes, sees no discard pass, and refuses compressed writes', async () => {
    const { node: below, io } = memoryNode(4096)
    const filter: StubNode = new StubNode(
      {
        length: () => 4096,
        read: () => {},
        write: (offset, data) => (filter.file === undefined ? undefined : write(filter.file, offset, data)),
      },
      { kind: 'filter', environment: below.state.environment },
    )
    link(filter, below)
    const edge = edgeOn(filter)
    await writeZeroes(edge, 0, 512)
    await discard(edge, 0, 512)
    expect(io.calls.map(({ op }) => op)).toEqual(['write'])
    expect(await codeOf(() => write(edge, 0, bytes(512), BDRV_REQ_WRITE_COMPRESSED))).toBe('ENOTSUP')
  })
})

describe('discard', () => {
  it('is cut into what the driver takes, passes over ENOTSUP and stops at other errors', async () => {
    const { node, io } = memoryNode(65536, {
      limits: { requestAlignment: 512, discardAlignment: 4096, maxDiscard: 8192 },
    })
    const edge = edgeOn(node)
    await discard(edge, 100, 20000)
    expect(io.calls.map((call) => [call.offset, call.bytes])).toEqual([
      [100, 412],
      [512, 3584],
      [4096, 8192],
      [12288, 4096],
      [16384, 3584],
      [19968, 132],
    ])
    io.failure = () => new BlockError('ENOTSUP', 'no')
    expect(await codeOf(() => discard(edge, 0, 4096))).toBeUndefined()
    io.failure = () => new BlockError('EIO', 'no')
    expect(await codeOf(() => discard(edge, 0, 4096))).toBe('EIO')
  })

  it('never grows the node and is nothing where the node does not honour it', async () => {
    const { node, io } = memoryNode(4096)
    const edge = edgeOn(node, BLK_PERM_ALL & ~BLK_PERM_RESIZE)
    await discard(edge, 4000, 1000)
    expect(io.calls.map((call) => call.bytes)).toEqual([96])
    node.openFlags &= ~BDRV_O_UNMAP
    expect(discard(edge, 0, 512)).toBeUndefined()
    expect(io.calls).toHaveLength(1)
  })
})
