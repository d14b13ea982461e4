import { describe, expect, it } from 'vitest'
import { BlockError } from '../../../src/common/error.js'
import { MAX_LENGTH } from '../../../src/common/limits.js'
import { BDRV_O_NO_FLUSH, BDRV_O_RDWR } from '../../../src/common/open-flags.js'
import { BLK_PERM_ALL } from '../../../src/common/permissions.js'
import { BDRV_REQ_ZERO_WRITE } from '../../../src/common/request.js'
import { flush, flushNode } from '../../../src/io/flush.js'
import { setWriteThreshold } from '../../../src/io/gates.js'
import { truncate } from '../../../src/io/truncate.js'
import { write } from '../../../src/io/write.js'
import { codeOf } from '../../support/code-of.js'
import { edgeOn, link, memoryNode, StubNode, StubParent, without } from '../../support/stub-graph.js'
import { settled } from '../../support/virtual-clock.js'

const bytes = (length: number, fill = 7) => new Uint8Array(length).fill(fill)

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
    expect(await codeOf(() => flush(edge))).toBe('EIO')
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
    await settled()
    expect(io.held).toHaveLength(1)
    io.mode = 'sync'
    write(edge, 0, bytes(512))
    io.releaseAll()
    await first
    expect(node.state.flushedGeneration).toBe(1)
    await flush(edge)
    expect(node.state.flushedGeneration).toBe(2)
  })

  it('serves all that come during one with the next, and fails them all where that fails', async () => {
    const { node, io } = memoryNode(4096)
    const edge = edgeOn(node)
    const flushes = () => io.calls.filter(({ op }) => op === 'flush').length
    write(edge, 0, bytes(512))
    io.mode = 'held'
    const first = flush(edge)
    const later = Array.from({ length: 100 }, () => codeOf(() => flush(edge)))
    await settled()
    expect(flushes()).toBe(1)
    io.mode = 'sync'
    write(edge, 0, bytes(512))
    io.releaseAll()
    io.failure = (call) => (call.op === 'flush' ? new BlockError('EIO', 'no') : undefined)
    await first
    expect(await Promise.all(later)).toEqual(later.map(() => 'EIO'))
    expect(flushes()).toBe(2)
    expect(node.state.inFlight).toBe(0)
    io.failure = undefined
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
    expect(await codeOf(() => flushNode(top))).toBe('EIO')
    expect(ioB.calls.filter(({ op }) => op === 'flush')).toHaveLength(1)
  })

  it('leaves the disk alone under NO_FLUSH', async () => {
    const { node, io } = memoryNode(4096, { openFlags: BDRV_O_RDWR | BDRV_O_NO_FLUSH })
    write(edgeOn(node), 0, bytes(512))
    await flushNode(node)
    expect(io.calls.map(({ op }) => op)).toEqual(['write'])
  })

  it('owes the disk what NO_FLUSH kept from it, should the node be reopened without', async () => {
    const { node, io } = memoryNode(4096, { openFlags: BDRV_O_RDWR | BDRV_O_NO_FLUSH })
    write(edgeOn(node), 0, bytes(512))
    await flushNode(node)
    node.openFlags = BDRV_O_RDWR
    await flushNode(node)
    expect(io.calls.map(({ op }) => op)).toEqual(['write', 'flush'])
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
    expect(await codeOf(() => truncate(edge, -1))).toBe('EINVAL')
    expect(await codeOf(() => truncate(edge, 1.5))).toBe('EINVAL')
    expect(await codeOf(() => truncate(edge, MAX_LENGTH + 1))).toBe('EFBIG')
    expect(await codeOf(() => truncate(edge, 2 ** 60))).toBe('EFBIG')
    expect(await codeOf(() => truncate(edge, 8192, { flags: BDRV_REQ_ZERO_WRITE }))).toBe('ENOTSUP')
    node.openFlags = 0
    expect(await codeOf(() => truncate(edge, 0))).toBe('EACCES')
    node.openFlags = BDRV_O_RDWR
    without(io, 'truncate')
    expect(await codeOf(() => truncate(edge, 0))).toBe('ENOTSUP')
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

  it('shares the end of the node with nobody: writes behind it and other truncates wait', async () => {
    const { node, io } = memoryNode(1000)
    const edge = edgeOn(node)
    io.mode = 'held'
    const grow = truncate(edge, 2000)
    const beyond = write(edge, 4000, bytes(100))
    const cut = truncate(edge, 500)
    await settled()
    expect(io.held.map(({ call }) => call.op)).toEqual(['truncate'])
    for (let i = 0; i < 3; i++) {
      io.releaseAll()
      await settled()
    }
    await Promise.all([grow, beyond, cut])
    expect(node.state.length).toBe(io.bytes.byteLength)
    expect(node.state).toMatchObject({ inFlight: 0, serialising: 0 })
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
