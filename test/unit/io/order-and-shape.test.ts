import { describe, expect, it } from 'vitest'
import { BlockError } from '../../../src/common/error.js'
import { IoVector } from '../../../src/common/io-vector.js'
import { BDRV_REQ_FUA, BDRV_REQ_NO_WAIT, BDRV_REQ_SERIALISING } from '../../../src/common/request.js'
import { flush } from '../../../src/io/flush.js'
import { read } from '../../../src/io/read.js'
import { write } from '../../../src/io/write.js'
import { writeZeroes } from '../../../src/io/write-zeroes.js'
import { codeOf } from '../../support/code-of.js'
import { edgeOn, memoryNode } from '../../support/stub-graph.js'
import { settled } from '../../support/virtual-clock.js'

const bytes = (length: number, fill = 7) => new Uint8Array(length).fill(fill)

describe('padding', () => {
  it('fails a write whose surroundings cannot be read, before it writes', async () => {
    const { node, io } = memoryNode(4096, { limits: { requestAlignment: 512 } })
    io.failure = (call) => (call.op === 'read' ? new BlockError('EIO', 'bad sector') : undefined)
    expect(await codeOf(() => write(edgeOn(node), 100, bytes(10)))).toBe('EIO')
    expect(io.calls.map((call) => call.op)).toEqual(['read'])
    expect(node.state).toMatchObject({ inFlight: 0, serialising: 0, writeGates: 0 })
  })

  it('reads one block for a small write, two for one that touches two', async () => {
    const { node, io } = memoryNode(bytes(4096, 1), { limits: { requestAlignment: 512 } })
    const edge = edgeOn(node)
    await write(edge, 100, bytes(10))
    expect(io.calls.map(({ op, offset, bytes: n }) => [op, offset, n])).toEqual([
      ['read', 0, 512],
      ['write', 0, 512],
    ])
    io.calls.length = 0
    await write(edge, 500, bytes(1100))
    expect(io.calls.map(({ op, offset, bytes: n }) => [op, offset, n])).toEqual([
      ['read', 0, 512],
      ['read', 1536, 512],
      ['write', 0, 2048],
    ])
  })

  it('loses no aligned write that is on its way when the unaligned one arrives', async () => {
    const { node, io } = memoryNode(bytes(1024, 1), { limits: { requestAlignment: 512 } })
    const edge = edgeOn(node)
    io.mode = 'held'
    const plain = write(edge, 0, bytes(512, 2))
    const small = write(edge, 10, bytes(10, 3))
    await settled()
    expect(io.held).toHaveLength(1)
    const watch = Promise.all([plain, small])
    for (let i = 0; i < 5; i++) {
      io.releaseAll()
      await settled()
    }
    await watch
    const expected = bytes(512, 2)
    expected.fill(3, 10, 20)
    expect(io.bytes.subarray(0, 512)).toEqual(expected)
  })
})

describe('serialising requests', () => {
  it('make overlapping ones wait and leave others alone', async () => {
    const { node, io } = memoryNode(4096)
    const edge = edgeOn(node)
    io.mode = 'held'
    const first = write(edge, 0, bytes(1024), BDRV_REQ_SERIALISING)
    await settled()
    const overlapping = write(edge, 512, bytes(1024))
    const apart = write(edge, 2048, bytes(512))
    await settled()
    expect(io.held.map(({ call }) => call.offset)).toEqual([0, 2048])
    io.releaseAll()
    await settled()
    expect(io.held.map(({ call }) => call.offset)).toEqual([512])
    io.releaseAll()
    await Promise.all([first, overlapping, apart])
    expect(node.state.writeGates).toBe(0)
  })

  it('fail with EBUSY instead of waiting where asked', async () => {
    const { node, io } = memoryNode(4096)
    const edge = edgeOn(node)
    io.mode = 'held'
    const first = write(edge, 0, bytes(512))
    const flags = BDRV_REQ_SERIALISING | BDRV_REQ_NO_WAIT
    expect(await codeOf(() => write(edge, 0, bytes(1024), flags))).toBe('EBUSY')
    const apart = write(edge, 1024, bytes(512), flags)
    await settled()
    io.releaseAll()
    await Promise.all([first, apart])
    expect(node.state.inFlight).toBe(0)
  })

  it('do not wait for each other in a circle', async () => {
    const { node, io } = memoryNode(8192)
    const edge = edgeOn(node)
    io.mode = 'held'
    const all = [0, 1, 2, 3, 4, 5].map((i) =>
      write(edge, i * 512, bytes(2048, i + 1), i % 2 === 0 ? BDRV_REQ_SERIALISING : 0),
    )
    for (let i = 0; i < 20; i++) {
      await settled()
      io.held.splice(0, 1)[0]?.finish()
    }
    await Promise.all(all)
    expect(node.state).toMatchObject({ inFlight: 0, serialising: 0 })
  })
})

describe('fragments', () => {
  it('are as long as the node takes, with few enough buffers', async () => {
    const { node, io } = memoryNode(8192, { limits: { maxTransfer: 1024, maxIov: 2 } })
    const edge = edgeOn(node)
    const pieces = new IoVector(Array.from({ length: 8 }, (_, i) => bytes(300, i + 1)))
    await write(edge, 0, pieces)
    expect(io.calls.map((call) => call.bytes)).toEqual([1024, 1024, 352])
    const into = new IoVector(Array.from({ length: 8 }, () => bytes(300, 0)))
    await read(edge, 0, into)
    expect(into.buffers).toEqual(pieces.buffers)
  })
})

describe('FUA', () => {
  it('is passed on where the driver has it, to every fragment', async () => {
    const { node, io } = memoryNode(4096, { writeFlags: BDRV_REQ_FUA, limits: { maxTransfer: 512 } })
    const edge = edgeOn(node)
    expect(write(edge, 0, bytes(512), BDRV_REQ_FUA)).toBeUndefined()
    await write(edge, 0, bytes(1024), BDRV_REQ_FUA)
    expect(io.calls.map(({ op, flags }) => [op, flags])).toEqual(Array(3).fill(['write', BDRV_REQ_FUA]))
  })

  it('is one flush after the write where not, even when nothing else was written since the last', async () => {
    const { node, io } = memoryNode(4096, { limits: { maxTransfer: 512 } })
    const edge = edgeOn(node)
    await flush(edge)
    io.calls.length = 0
    await write(edge, 0, bytes(1024), BDRV_REQ_FUA)
    expect(io.calls.map(({ op }) => op)).toEqual(['write', 'write', 'flush'])
    await writeZeroes(edge, 0, 512, BDRV_REQ_FUA)
    expect(io.calls.map(({ op }) => op).slice(3)).toEqual(['write-zeroes', 'flush'])
  })
})
