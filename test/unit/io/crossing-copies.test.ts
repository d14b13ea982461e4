import { describe, expect, it } from 'vitest'
import { BDRV_REQ_SERIALISING } from '../../../src/common/request.js'
import { copyRange, copyRangeFrom, copyRangeTo } from '../../../src/io/copy-range.js'
import type { IoEnvironment } from '../../../src/io/environment.js'
import type { CopySource, NodeIo } from '../../../src/io/node-io.js'
import { write } from '../../../src/io/write.js'
import { edgeOn, link, MemoryIo, StubNode } from '../../support/stub-graph.js'
import { settled } from '../../support/virtual-clock.js'

const LENGTH = 4096

/** A leaf that copies between memories, a step later than asked. */
class CopyingIo extends MemoryIo {
  copyRangeFrom: NonNullable<NodeIo['copyRangeFrom']> = async (offset, target, targetOffset, bytes, flags) => {
    await settled()
    await target.copyFrom({ node: this.node as StubNode }, offset, targetOffset, bytes, flags)
  }
  copyRangeTo: NonNullable<NodeIo['copyRangeTo']> = async (source: CopySource, sourceOffset, offset, bytes) => {
    await settled()
    const { bytes: from } = source.node.io as CopyingIo
    this.bytes.set(from.slice(sourceOffset, sourceOffset + bytes), offset)
  }
  node: StubNode | undefined
}

function leaf(fill: number, environment?: IoEnvironment): StubNode {
  const io = new CopyingIo(new Uint8Array(LENGTH).fill(fill))
  const node = new StubNode(io, environment === undefined ? {} : { environment })
  io.node = node
  return node
}

/** A node that passes copies on to `below`. */
function over(below: StubNode): StubNode {
  const io: NodeIo = {
    length: () => LENGTH,
    read: () => {},
    write: () => {},
    copyRangeFrom: (...given) => copyRangeFrom(edge, ...given),
    copyRangeTo: (...given) => copyRangeTo(edge, ...given),
  }
  const node = new StubNode(io, { environment: below.state.environment, length: LENGTH })
  const edge = link(node, below)
  return node
}

const contentOf = (node: StubNode) => (node.io as CopyingIo).bytes

/** Copies all of one node over another, serialising. */
const copyAll = (from: StubNode, to: StubNode) =>
  copyRange(edgeOn(from), 0, edgeOn(to), 0, LENGTH, BDRV_REQ_SERIALISING)

/** Whether all settle; a ring of waiting requests would never. */
async function allSettle(pending: readonly Promise<unknown>[]): Promise<boolean> {
  let count = 0
  for (const one of pending) {
    one.then(
      () => count++,
      () => count++,
    )
  }
  for (let turn = 0; turn < 50 && count < pending.length; turn++) await settled()
  return count === pending.length
}

describe('copies that cross each other, all serialising', () => {
  it('between two nodes go one after the other', async () => {
    const a = leaf(1)
    const b = leaf(2, a.state.environment)
    expect(await allSettle([copyAll(a, b), copyAll(b, a)])).toBe(true)
    // Whichever went first, the other copied what that had made of its source.
    expect(contentOf(a)).toEqual(contentOf(b))
    expect([a.state, b.state]).toMatchObject([
      { inFlight: 0, serialising: 0 },
      { inFlight: 0, serialising: 0 },
    ])
  })

  it('also where other nodes stand above them', async () => {
    const a = leaf(1)
    const b = leaf(2, a.state.environment)
    expect(await allSettle([copyAll(over(over(a)), b), copyAll(b, over(a)), copyAll(over(b), a)])).toBe(true)
    expect(contentOf(a)).toEqual(contentOf(b))
  })

  it('in a ring of three', async () => {
    const a = leaf(1)
    const b = leaf(2, a.state.environment)
    const c = leaf(3, a.state.environment)
    expect(await allSettle([copyAll(a, b), copyAll(b, c), copyAll(c, a)])).toBe(true)
    expect([a, b, c].map(({ state }) => state.inFlight)).toEqual([0, 0, 0])
  })

  it('within one node, onto a range that overlaps their own', async () => {
    const a = leaf(1)
    contentOf(a).fill(2, 1024)
    const edge = edgeOn(a)
    const there = copyRange(edge, 0, edge, 512, 1024, BDRV_REQ_SERIALISING)
    const back = copyRange(edge, 1024, edge, 256, 1024, BDRV_REQ_SERIALISING)
    expect(await allSettle([there, back])).toBe(true)
    expect(a.state.inFlight).toBe(0)
  })

  it('still wait for whoever is in their way and does not wait for them', async () => {
    const a = leaf(1)
    const b = leaf(2, a.state.environment)
    const io = b.io as CopyingIo
    io.mode = 'held'
    const before = write(edgeOn(b), 0, new Uint8Array(512).fill(9))
    const copies = [copyAll(a, b), copyAll(b, a)]
    expect(await allSettle(copies)).toBe(false)
    expect(contentOf(b)[512]).toBe(2)
    io.releaseAll()
    await before
    expect(await allSettle(copies)).toBe(true)
    expect(contentOf(a)).toEqual(contentOf(b))
  })
})
