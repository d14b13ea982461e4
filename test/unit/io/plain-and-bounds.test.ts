import { describe, expect, it } from 'vitest'
import { assert } from '../../../src/common/assert.js'
import { IoVector } from '../../../src/common/io-vector.js'
import { BDRV_REQUEST_MAX_BYTES, MAX_LENGTH } from '../../../src/common/limits.js'
import { BDRV_O_INACTIVE, BDRV_O_RDWR } from '../../../src/common/open-flags.js'
import { BLK_PERM_ALL, BLK_PERM_WRITE, BLK_PERM_WRITE_UNCHANGED } from '../../../src/common/permissions.js'
import {
  BDRV_REQ_FUA,
  BDRV_REQ_NO_WAIT,
  BDRV_REQ_WRITE_COMPRESSED,
  BDRV_REQ_WRITE_UNCHANGED,
} from '../../../src/common/request.js'
import { discard } from '../../../src/io/discard.js'
import { flush } from '../../../src/io/flush.js'
import { read } from '../../../src/io/read.js'
import { refreshLength, truncate } from '../../../src/io/truncate.js'
import { write } from '../../../src/io/write.js'
import { writeZeroes } from '../../../src/io/write-zeroes.js'
import { codeOf } from '../../support/code-of.js'
import { edgeOn, link, memoryNode, StubNode } from '../../support/stub-graph.js'
import { settled } from '../../support/virtual-clock.js'

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
    ['beyond all safe integers', 2 ** 60, 512, 'EFBIG'],
    ['infinite', Number.POSITIVE_INFINITY, 512, 'EINVAL'],
  ] as const)('%s', async (_name, offset, length, expected) => {
    const edge = edgeOn(memoryNode(4096).node)
    expect(await codeOf(() => read(edge, offset, bytes(length)))).toBe(expected)
    expect(await codeOf(() => write(edge, offset, bytes(length)))).toBe(expected)
    expect(await codeOf(() => writeZeroes(edge, offset, length))).toBe(expected)
    expect(await codeOf(() => discard(edge, offset, length))).toBe(expected)
  })

  it('refuses more bytes than a request may have, but not for zeroes', async () => {
    const { node, io } = memoryNode(0, { length: 2 ** 40, zeroFlags: 0 })
    const edge = edgeOn(node)
    const huge = { length: BDRV_REQUEST_MAX_BYTES + 512, buffers: [] }
    Object.setPrototypeOf(huge, IoVector.prototype)
    expect(await codeOf(() => read(edge, 0, huge as unknown as IoVector))).toBe('EINVAL')
    expect(await codeOf(() => write(edge, 0, huge as unknown as IoVector))).toBe('EINVAL')
    Object.assign(io, { writeZeroes: () => {} })
    expect(await codeOf(() => writeZeroes(edge, 0, 2 ** 40))).toBeUndefined()
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
      expect(await codeOf(call)).toBe('ENOMEDIUM')
    }
  })
})

describe('permissions', () => {
  it('are asked of the edge, by errors that name the node', async () => {
    const { node, io } = memoryNode(4096, { name: 'disk0' })
    const edge = edgeOn(node, BLK_PERM_ALL & ~BLK_PERM_WRITE & ~BLK_PERM_WRITE_UNCHANGED)
    expect(() => write(edge, 0, bytes(512))).toThrow(expect.objectContaining({ code: 'EPERM', node: 'disk0' }))
    expect(await codeOf(() => writeZeroes(edge, 0, 512))).toBe('EPERM')
    expect(await codeOf(() => discard(edge, 0, 512))).toBe('EPERM')
    edge.perm = BLK_PERM_WRITE_UNCHANGED
    expect(await codeOf(() => write(edge, 0, bytes(512)))).toBe('EPERM')
    expect(await codeOf(() => write(edge, 0, bytes(512), BDRV_REQ_WRITE_UNCHANGED))).toBeUndefined()
    edge.perm = BLK_PERM_WRITE
    expect(await codeOf(() => write(edge, 4000, bytes(512)))).toBe('EPERM')
    expect(await codeOf(() => truncate(edge, 8192))).toBe('EPERM')
    expect(io.calls).toHaveLength(1)
    expect(node.state.inFlight).toBe(0)
  })

  it.each([
    ['read-only', 0],
    ['inactive', BDRV_O_RDWR | BDRV_O_INACTIVE],
  ])('are refused by a node that is %s', async (_name, openFlags) => {
    const { node } = memoryNode(4096, { openFlags })
    const edge = edgeOn(node)
    expect(await codeOf(() => write(edge, 0, bytes(512)))).toBe('EPERM')
    expect(await codeOf(() => writeZeroes(edge, 0, 512))).toBe('EPERM')
    expect(await codeOf(() => read(edge, 0, bytes(512)))).toBeUndefined()
  })

  it('refuse flags that do not go together', async () => {
    const edge = edgeOn(memoryNode(4096).node)
    expect(await codeOf(() => write(edge, 0, bytes(512), BDRV_REQ_NO_WAIT))).toBe('EINVAL')
    expect(await codeOf(() => write(edge, 0, bytes(512), 0x8000))).toBe('EINVAL')
    expect(await codeOf(() => read(edge, 0, bytes(512), BDRV_REQ_FUA))).toBe('EINVAL')
    expect(await codeOf(() => writeZeroes(edge, 0, 512, BDRV_REQ_WRITE_COMPRESSED))).toBe('EINVAL')
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
