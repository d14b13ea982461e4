import { describe, expect, it } from 'vitest'
import { assert } from '../../../src/common/assert.js'
import { BlockError } from '../../../src/common/error.js'
import { IoVector } from '../../../src/common/io-vector.js'
import { BDRV_REQUEST_MAX_BYTES, MAX_LENGTH } from '../../../src/common/limits.js'
import { BDRV_O_INACTIVE, BDRV_O_NO_FLUSH, BDRV_O_RDWR, BDRV_O_UNMAP } from '../../../src/common/open-flags.js'
import {
  BLK_PERM_ALL,
  BLK_PERM_RESIZE,
  BLK_PERM_WRITE,
  BLK_PERM_WRITE_UNCHANGED,
} from '../../../src/common/permissions.js'
import {
  BDRV_REQ_FUA,
  BDRV_REQ_MAY_UNMAP,
  BDRV_REQ_NO_FALLBACK,
  BDRV_REQ_NO_WAIT,
  BDRV_REQ_SERIALISING,
  BDRV_REQ_WRITE_COMPRESSED,
  BDRV_REQ_WRITE_UNCHANGED,
  BDRV_REQ_ZERO_WRITE,
} from '../../../src/common/request.js'
import { discard } from '../../../src/io/discard.js'
import { flush, flushNode } from '../../../src/io/flush.js'
import { setWriteThreshold } from '../../../src/io/gates.js'
import type { Completion } from '../../../src/io/node-io.js'
import { read } from '../../../src/io/read.js'
import { refreshLength, truncate } from '../../../src/io/truncate.js'
import { write } from '../../../src/io/write.js'
import { writeZeroes } from '../../../src/io/write-zeroes.js'
import { edgeOn, link, memoryNode, StubNode, StubParent, without } from '../../support/stub-graph.js'
import { settled } from '../../support/virtual-clock.js'

/** A throw and a rejection are the same to a caller that awaits. */
async function code(call: () => Completion): Promise<string | undefined> {
  try {
    await call()
    return undefined
  } catch (error) {
    return (error as BlockError).code
  }
}

const bytes = (length: number, fill = 7) => new Uint8Array(length).fill(fill)

describe('a plain request', () => {
  it('completes synchronously and is never tracked', () => {
    const { node, io } = memoryNode(4096)
    const edge = edgeOn(node)
    expect(write(edge, 512, bytes(512))).toBeUndefined()
    const into = new Uint8Array(512)
    expect(read(edge, 512, into)).toBeUndefined()
    expect(into).toEqual(bytes(512))
    expect(node.state).toMatchObject({ inFlight: 0, writeGeneration: 1, writtenUpTo: 1024 })
    expect(io.calls.map((call) => call.op)).toEqual(['write', 'read'])
  })

  it('is tracked from the moment its driver returned a promise until it settles', async () => {
    const { node, io } = memoryNode(4096)
    const edge = edgeOn(node)
    io.mode = 'held'
    const pending = write(edge, 512, bytes(512))
    expect(node.state.first).toMatchObject({ kind: 'write', offset: 512, bytes: 512 })
    expect(node.state.inFlight).toBe(1)
    io.releaseAll()
    await pending
    expect(node.state).toMatchObject({ inFlight: 0, first: undefined, writeGeneration: 1 })
  })

  it('raises the write generation also when it fails, at once or later', async () => {
    const { node, io } = memoryNode(4096, { name: 'disk0' })
    const edge = edgeOn(node)
    io.failure = () => Object.assign(new Error('host says no'), { code: 'ENOSPC' })
    expect(() => write(edge, 0, bytes(512))).toThrow(/disk0: host says no/)
    expect(node.state.writeGeneration).toBe(1)
    io.mode = 'async'
    await expect(write(edge, 0, bytes(512))).rejects.toMatchObject({ code: 'ENOSPC', node: 'disk0', op: 'write' })
    expect(node.state).toMatchObject({ writeGeneration: 2, inFlight: 0 })
  })

  it('lets a broken contract through as it is', () => {
    const { node, io } = memoryNode(4096)
    io.failure = () => {
      try {
        assert(false, 'broken')
      } catch (error) {
        return error
      }
    }
    expect(() => read(edgeOn(node), 0, bytes(512))).toThrow(expect.objectContaining({ name: 'AssertionFailure' }))
  })

  it('keeps records apart when many settle in any order', async () => {
    const { node, io } = memoryNode(8192)
    const edge = edgeOn(node)
    io.mode = 'held'
    const all = Array.from({ length: 16 }, (_, i) => write(edge, i * 512, bytes(512, i)))
    for (const index of [7, 0, 12, 3]) io.held.splice(index, 1)[0]?.finish()
    await settled()
    expect(node.state.inFlight).toBe(12)
    io.releaseAll()
    await Promise.all(all)
    expect(node.state).toMatchObject({ inFlight: 0, first: undefined })
    expect([...Array(16).keys()].every((i) => io.bytes[i * 512] === i)).toBe(true)
  })
})

describe('bounds', () => {
  it.each([
    ['negative offset', -1, 512, 'EINVAL'],
    ['fraction', 0.5, 512, 'EINVAL'],
    ['no number', Number.NaN, 512, 'EINVAL'],
    ['beyond the largest length', MAX_LENGTH, 512, 'EFBIG'],
  ] as const)('%s', async (_name, offset, length, expected) => {
    const edge = edgeOn(memoryNode(4096).node)
    expect(await code(() => read(edge, offset, bytes(length)))).toBe(expected)
    expect(await code(() => write(edge, offset, bytes(length)))).toBe(expected)
    expect(await code(() => writeZeroes(edge, offset, length))).toBe(expected)
    expect(await code(() => discard(edge, offset, length))).toBe(expected)
  })

  it('refuses more bytes than a request may have, but not for zeroes', async () => {
    const { node, io } = memoryNode(0, { length: 2 ** 40, zeroFlags: 0 })
    const edge = edgeOn(node)
    const huge = { byteLength: BDRV_REQUEST_MAX_BYTES + 512, buffers: [] }
    Object.setPrototypeOf(huge, IoVector.prototype)
    expect(await code(() => read(edge, 0, huge as unknown as IoVector))).toBe('EINVAL')
    expect(await code(() => write(edge, 0, huge as unknown as IoVector))).toBe('EINVAL')
    Object.assign(io, { writeZeroes: () => {} })
    expect(await code(() => writeZeroes(edge, 0, 2 ** 40))).toBeUndefined()
  })

  it('does nothing for 0 bytes, wherever they are', async () => {
    const { node, io } = memoryNode(4096, { limits: { requestAlignment: 512 } })
    const edge = edgeOn(node)
    await read(edge, 7, bytes(0))
    await write(edge, 7, bytes(0))
    await writeZeroes(edge, 7, 0)
    await discard(edge, 7, 0)
    expect(io.calls).toEqual([])
  })

  it('reads zeroes behind the end, also where the driver leaves garbage', async () => {
    const { node } = memoryNode(bytes(1000, 3), { limits: { requestAlignment: 512 } })
    const into = bytes(2048, 9)
    await read(edgeOn(node), 512, into)
    expect(into.subarray(0, 488)).toEqual(bytes(488, 3))
    expect(into.subarray(488)).toEqual(bytes(2048 - 488, 0))
    const behind = bytes(512, 9)
    await read(edgeOn(node), 8192, behind)
    expect(behind).toEqual(bytes(512, 0))
  })

  it('says ENOMEDIUM for a closed node', async () => {
    const { node } = memoryNode(4096)
    const edge = edgeOn(node)
    node.closed = true
    for (const call of [
      () => read(edge, 0, bytes(512)),
      () => write(edge, 0, bytes(512)),
      () => writeZeroes(edge, 0, 512),
      () => discard(edge, 0, 512),
      () => flush(edge),
      () => truncate(edge, 0),
      () => refreshLength(node),
    ]) {
      expect(await code(call)).toBe('ENOMEDIUM')
    }
  })
})

describe('permissions', () => {
  it('are asked of the edge, by errors that name the node', async () => {
    const { node, io } = memoryNode(4096, { name: 'disk0' })
    const edge = edgeOn(node, BLK_PERM_ALL & ~BLK_PERM_WRITE & ~BLK_PERM_WRITE_UNCHANGED)
    expect(() => write(edge, 0, bytes(512))).toThrow(expect.objectContaining({ code: 'EPERM', node: 'disk0' }))
    expect(await code(() => writeZeroes(edge, 0, 512))).toBe('EPERM')
    expect(await code(() => discard(edge, 0, 512))).toBe('EPERM')
    edge.perm = BLK_PERM_WRITE_UNCHANGED
    expect(await code(() => write(edge, 0, bytes(512)))).toBe('EPERM')
    expect(await code(() => write(edge, 0, bytes(512), BDRV_REQ_WRITE_UNCHANGED))).toBeUndefined()
    edge.perm = BLK_PERM_WRITE
    expect(await code(() => write(edge, 4000, bytes(512)))).toBe('EPERM')
    expect(await code(() => truncate(edge, 8192))).toBe('EPERM')
    expect(io.calls).toHaveLength(1)
    expect(node.state.inFlight).toBe(0)
  })

  it.each([
    ['read-only', 0],
    ['inactive', BDRV_O_RDWR | BDRV_O_INACTIVE],
  ])('are refused by a node that is %s', async (_name, openFlags) => {
    const { node } = memoryNode(4096, { openFlags })
    const edge = edgeOn(node)
    expect(await code(() => write(edge, 0, bytes(512)))).toBe('EPERM')
    expect(await code(() => writeZeroes(edge, 0, 512))).toBe('EPERM')
    expect(await code(() => read(edge, 0, bytes(512)))).toBeUndefined()
  })

  it('refuse flags that do not go together', async () => {
    const edge = edgeOn(memoryNode(4096).node)
    expect(await code(() => write(edge, 0, bytes(512), BDRV_REQ_NO_WAIT))).toBe('EINVAL')
    expect(await code(() => write(edge, 0, bytes(512), 0x8000))).toBe('EINVAL')
    expect(await code(() => read(edge, 0, bytes(512), BDRV_REQ_FUA))).toBe('EINVAL')
    expect(await code(() => writeZeroes(edge, 0, 512, BDRV_REQ_WRITE_COMPRESSED))).toBe('EINVAL')
  })
})

describe('padding', () => {
  it('fails a write whose surroundings cannot be read, before it writes', async () => {
    const { node, io } = memoryNode(4096, { limits: { requestAlignment: 512 } })
    io.failure = (call) => (call.op === 'read' ? new BlockError('EIO', 'bad sector') : undefined)
    expect(await code(() => write(edgeOn(node), 100, bytes(10)))).toBe('EIO')
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
    expect(await code(() => write(edge, 0, bytes(1024), flags))).toBe('EBUSY')
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

describe('write zeroes', () => {
  it('fall back to a bounce buffer, unless NO_FALLBACK forbids', async () => {
    const { node, io } = memoryNode(bytes(4096, 1), { limits: { maxTransfer: 1024 } })
    const edge = edgeOn(node)
    io.failure = (call) => (call.op === 'write-zeroes' ? new BlockError('ENOTSUP', 'no') : undefined)
    await writeZeroes(edge, 0, 2048)
    expect(io.calls.filter(({ op }) => op === 'write').map((call) => call.bytes)).toEqual([1024, 1024])
    expect(io.bytes.subarray(0, 2049)).toEqual(Uint8Array.from([...bytes(2048, 0), 1]))
    node.state.zeroFlags = BDRV_REQ_NO_FALLBACK
    expect(await code(() => writeZeroes(edge, 0, 512, BDRV_REQ_NO_FALLBACK))).toBe('ENOTSUP')
    node.state.zeroFlags = 0
    expect(await code(() => writeZeroes(edge, 0, 512, BDRV_REQ_NO_FALLBACK))).toBe('ENOTSUP')
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
    expect(await code(() => writeZeroes(edge, 1, 512, BDRV_REQ_NO_FALLBACK))).toBe('ENOTSUP')
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
    expect(await code(() => write(edge, 0, bytes(512), BDRV_REQ_WRITE_COMPRESSED))).toBe('ENOTSUP')
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
    expect(await code(() => discard(edge, 0, 4096))).toBeUndefined()
    io.failure = () => new BlockError('EIO', 'no')
    expect(await code(() => discard(edge, 0, 4096))).toBe('EIO')
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

describe('flush', () => {
  it('reaches the driver only when something was written since the last that succeeded', async () => {
    const { node, io } = memoryNode(4096)
    const edge = edgeOn(node)
    const flushes = () => io.calls.filter(({ op }) => op === 'flush').length
    write(edge, 0, bytes(512))
    await flush(edge)
    await flush(edge)
    expect(flushes()).toBe(1)
    write(edge, 0, bytes(512))
    io.failure = (call) => (call.op === 'flush' ? new BlockError('EIO', 'no') : undefined)
    expect(await code(() => flush(edge))).toBe('EIO')
    io.failure = undefined
    await flush(edge)
    expect(flushes()).toBe(3)
  })

  it('runs one at a time, and a write that ends meanwhile is not counted as flushed', async () => {
    const { node, io } = memoryNode(4096)
    const edge = edgeOn(node)
    write(edge, 0, bytes(512))
    io.mode = 'held'
    const first = flush(edge)
    const second = flush(edge)
    await settled()
    expect(io.held).toHaveLength(1)
    io.mode = 'sync'
    write(edge, 0, bytes(512))
    io.releaseAll()
    await Promise.all([first, second])
    expect(node.state.flushedGeneration).toBe(1)
    await flush(edge)
    expect(node.state.flushedGeneration).toBe(2)
  })

  it('goes on to children with a writing edge, of all kinds the first error is kept', async () => {
    const { node: a, io: ioA } = memoryNode(4096)
    const { node: b, io: ioB } = memoryNode(4096, { environment: a.state.environment })
    const top: StubNode = new StubNode(
      { length: () => 0, read: () => {} },
      { kind: 'format', environment: a.state.environment },
    )
    link(top, a, 'file')
    const readOnly = link(top, b, 'backing')
    for (const node of [a, b]) write(edgeOn(node), 0, bytes(512))
    readOnly.perm = 1
    await flushNode(top)
    expect([ioA, ioB].map((io) => io.calls.filter(({ op }) => op === 'flush').length)).toEqual([1, 0])
    readOnly.perm = BLK_PERM_ALL
    write(edgeOn(a), 0, bytes(512))
    ioA.failure = () => new BlockError('EIO', 'first')
    expect(await code(() => flushNode(top))).toBe('EIO')
    expect(ioB.calls.filter(({ op }) => op === 'flush')).toHaveLength(1)
  })

  it('leaves the disk alone under NO_FLUSH', async () => {
    const { node, io } = memoryNode(4096, { openFlags: BDRV_O_RDWR | BDRV_O_NO_FLUSH })
    write(edgeOn(node), 0, bytes(512))
    await flushNode(node)
    expect(io.calls.map(({ op }) => op)).toEqual(['write'])
  })
})

describe('truncate', () => {
  it('changes the length and tells parents in a later microtask', async () => {
    const { node } = memoryNode(4096)
    const parent = new StubParent()
    const edge = link(parent, node, 'root')
    await truncate(edge, 1000)
    expect(node.state.length).toBe(1000)
    await settled()
    expect(parent.log).toEqual(['resized 1000'])
    await write(edge, 990, bytes(100))
    await settled()
    expect(node.state.length).toBe(1090)
    expect(parent.log).toEqual(['resized 1000', 'resized 1090'])
  })

  it('refuses what is no length, a read-only node and a driver that cannot', async () => {
    const { node, io } = memoryNode(4096)
    const edge = edgeOn(node)
    expect(await code(() => truncate(edge, -1))).toBe('EINVAL')
    expect(await code(() => truncate(edge, 1.5))).toBe('EINVAL')
    expect(await code(() => truncate(edge, MAX_LENGTH + 1))).toBe('EFBIG')
    expect(await code(() => truncate(edge, 8192, { flags: BDRV_REQ_ZERO_WRITE }))).toBe('ENOTSUP')
    node.openFlags = 0
    expect(await code(() => truncate(edge, 0))).toBe('EACCES')
    node.openFlags = BDRV_O_RDWR
    without(io, 'truncate')
    expect(await code(() => truncate(edge, 0))).toBe('ENOTSUP')
    expect(node.state).toMatchObject({ length: 4096, inFlight: 0 })
  })

  it('asks for zeroes where growth would uncover a longer backing file', async () => {
    const { node: base } = memoryNode(8192)
    const asked: number[] = []
    const top: StubNode = new StubNode(
      { length: () => 4096, read: () => {}, truncate: (_length, options) => void asked.push(options.flags) },
      {
        kind: 'format',
        supportsBacking: true,
        truncateFlags: BDRV_REQ_ZERO_WRITE,
        environment: base.state.environment,
      },
    )
    link(top, base, 'backing')
    await truncate(edgeOn(top), 6000)
    expect(asked).toEqual([BDRV_REQ_ZERO_WRITE])
  })

  it('goes through a filter to its child', async () => {
    const { node: below } = memoryNode(4096)
    const filter: StubNode = new StubNode(
      { length: () => below.state.length, read: () => {} },
      { kind: 'filter', environment: below.state.environment },
    )
    link(filter, below)
    await truncate(edgeOn(filter), 512)
    expect([filter.state.length, below.state.length]).toEqual([512, 512])
  })

  it('waits for writes behind the new end', async () => {
    const { node, io } = memoryNode(4096)
    const edge = edgeOn(node)
    io.mode = 'held'
    const pending = write(edge, 2048, bytes(512))
    const cut = truncate(edge, 1024)
    await settled()
    expect(io.held.map(({ call }) => call.op)).toEqual(['write'])
    io.releaseAll()
    await settled()
    io.releaseAll()
    await Promise.all([pending, cut])
    expect(node.state.length).toBe(1024)
  })
})

describe('the write threshold', () => {
  it('tells once, in a microtask, and is off then', async () => {
    const { node } = memoryNode(4096, { name: 'disk0' })
    const events: unknown[] = []
    node.state.environment.trace.listen((name, event) => {
      if (name === 'write-threshold') events.push(event)
    })
    setWriteThreshold(node, 1000)
    const edge = edgeOn(node)
    await write(edge, 0, bytes(1000))
    await write(edge, 512, bytes(1024))
    await write(edge, 2048, bytes(1024))
    expect(events).toEqual([{ node: 'disk0', threshold: 1000, exceededBy: 536 }])
    expect(node.state.writeGates).toBe(0)
  })
})

describe('a long chain', () => {
  it('of 5,000 nodes reads and writes without overflowing the stack', async () => {
    let { node: top } = memoryNode(4096)
    for (let i = 0; i < 5000; i++) {
      const node: StubNode = new StubNode(
        {
          length: () => 4096,
          read: (offset, into) => (node.file === undefined ? undefined : read(node.file, offset, into)),
          write: (offset, data) => (node.file === undefined ? undefined : write(node.file, offset, data)),
        },
        { kind: 'format', environment: top.state.environment },
      )
      link(node, top)
      top = node
    }
    const edge = edgeOn(top)
    await write(edge, 0, bytes(512))
    await write(edge, 1, bytes(3))
    const into = new Uint8Array(512)
    await read(edge, 0, into)
    expect(into).toEqual(bytes(512))
    await writeZeroes(edge, 0, 512)
    await flush(edge)
    expect(top.state.inFlight).toBe(0)
  })
})
