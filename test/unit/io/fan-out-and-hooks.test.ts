import { describe, expect, it } from 'vitest'
import { BlockError } from '../../../src/common/error.js'
import { HBitmap } from '../../../src/common/hbitmap.js'
import { background } from '../../../src/io/background.js'
import { debugEvent } from '../../../src/io/debug-event.js'
import { type DirtyBitmap, isDirty } from '../../../src/io/dirty-bitmap.js'
import { discard } from '../../../src/io/discard.js'
import { forward } from '../../../src/io/forward.js'
import { setBitmaps } from '../../../src/io/gates.js'
import { read } from '../../../src/io/read.js'
import { settleAll } from '../../../src/io/settle-all.js'
import { write } from '../../../src/io/write.js'
import { edgeOn, link, memoryNode, StubNode } from '../../support/stub-graph.js'
import { settled } from '../../support/virtual-clock.js'

describe('settleAll', () => {
  it('waits for every call, also when others throw at once, then throws the first', async () => {
    const order: string[] = []
    const late = Promise.resolve()
      .then(() => settled())
      .then(() => void order.push('late'))
    const all = settleAll(['now', 'late', 'other'], (item) => {
      if (item === 'now') throw new BlockError('EIO', 'at once')
      if (item === 'other') return Promise.reject(new BlockError('ENOSPC', 'later'))
      return late
    }).finally(() => order.push('settled'))
    await expect(all).rejects.toMatchObject({ code: 'EIO' })
    expect(order).toEqual(['late', 'settled'])
    expect(await settleAll([1, 2], (n) => n * 2)).toEqual([2, 4])
  })
})

describe('background', () => {
  it('reports what nobody waits for', async () => {
    const { node } = memoryNode(1, { name: 'disk0' })
    const events: unknown[] = []
    node.state.environment.trace.listen((name, event) => events.push([name, event]))
    background(node, undefined)
    background(node, Promise.reject(new Error('lost')))
    await settled()
    expect(events).toMatchObject([['background-error', { node: 'disk0', message: 'lost' }]])
  })
})

describe('hooks of parents', () => {
  it('that throw are reported and keep neither the request nor other parents from going on', async () => {
    const { node } = memoryNode(512)
    const told: number[] = []
    const events: string[] = []
    node.state.environment.trace.listen((name) => events.push(name))
    const hooks = (resized: () => void) => ({ node: undefined, describe: () => 'test', resized })
    link(
      hooks(() => {
        throw new Error('hook')
      }),
      node,
      'root',
    )
    const edge = link(
      hooks(() => told.push(node.state.length)),
      node,
      'root',
    )
    await write(edge, 512, new Uint8Array(512))
    await settled()
    expect(told).toEqual([1024])
    expect(events).toEqual(['resized', 'background-error'])
  })
})

describe('forward', () => {
  it('passes on what a filter asks for, and nothing else', async () => {
    const { node: below, io } = memoryNode(4096)
    const methods = forward(() => filter.file, 'discard')
    const filter: StubNode = new StubNode(
      { length: () => 4096, read: () => {}, ...methods },
      { kind: 'filter', environment: below.state.environment },
    )
    link(filter, below)
    await discard(edgeOn(filter), 0, 512)
    expect(io.calls.map(({ op }) => op)).toEqual(['discard'])
    expect(Object.keys(methods)).toEqual(['discard'])
  })
})

describe('debug events', () => {
  it('reach the child that listens', () => {
    const { node, io } = memoryNode(512)
    const seen: string[] = []
    const edge = edgeOn(node)
    debugEvent(edge, 'l2_update')
    Object.assign(io, { debugEvent: (event: string) => void seen.push(event) })
    debugEvent(edge, 'l2_update')
    debugEvent(undefined, 'l2_update')
    expect(seen).toEqual(['l2_update'])
  })
})

describe('gates', () => {
  it('follow the list of bitmaps; a read-only one forbids writes, not reads', async () => {
    const { node } = memoryNode(512)
    const edge = edgeOn(node)
    const bitmap = { name: 'b', readonly: true, enabled: false } as never
    setBitmaps(node, [bitmap])
    expect(() => write(edge, 0, new Uint8Array(512))).toThrow(expect.objectContaining({ code: 'EPERM' }))
    expect(() => discard(edge, 0, 512)).toThrow(expect.objectContaining({ code: 'EPERM' }))
    expect(read(edge, 0, new Uint8Array(512))).toBeUndefined()
    setBitmaps(node, [])
    expect(write(edge, 0, new Uint8Array(512))).toBeUndefined()
  })
})

describe('bitmaps', () => {
  const recorder = (length: number): DirtyBitmap => ({
    name: 'b',
    bits: new HBitmap(length, 512),
    enabled: true,
    busy: false,
    readonly: false,
    persistent: false,
    inconsistent: false,
    skipStore: false,
    successor: undefined,
  })

  it('record what was written, also by writes that failed, and grow with the node', async () => {
    const { node, io } = memoryNode(2048)
    const edge = edgeOn(node)
    const bitmap = recorder(2048)
    setBitmaps(node, [bitmap])
    await write(edge, 0, new Uint8Array(512))
    io.failure = () => new BlockError('EIO', 'no')
    await expect(write(edge, 1024, new Uint8Array(512))).rejects.toMatchObject({ code: 'EIO' })
    io.failure = undefined
    await write(edge, 3072, new Uint8Array(512))
    await discard(edge, 1536, 512)
    const dirty = [0, 512, 1024, 1536, 2048, 3072].map((offset) => isDirty(bitmap, offset))
    expect(dirty).toEqual([true, false, true, true, false, true])
  })
})
