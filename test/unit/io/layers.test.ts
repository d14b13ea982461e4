import { describe, expect, it } from 'vitest'
import {
  BDRV_BLOCK_ALLOCATED,
  BDRV_BLOCK_DATA,
  BDRV_BLOCK_EOF,
  BDRV_BLOCK_OFFSET_VALID,
  BDRV_BLOCK_RAW,
  BDRV_BLOCK_RECURSE,
  BDRV_BLOCK_ZERO,
} from '../../../src/common/block-status.js'
import { BlockError } from '../../../src/common/error.js'
import { BDRV_O_RDWR } from '../../../src/common/open-flags.js'
import {
  BDRV_REQ_COPY_ON_READ,
  BDRV_REQ_NO_FALLBACK,
  BDRV_REQ_PREFETCH,
  BDRV_REQ_ZERO_WRITE,
} from '../../../src/common/request.js'
import {
  blockStatus,
  blockStatusAbove,
  isAllocated,
  isAllocatedAbove,
  isZeroFast,
} from '../../../src/io/block-status.js'
import { copyRange, copyRangeFrom } from '../../../src/io/copy-range.js'
import { discard } from '../../../src/io/discard.js'
import { disableCopyOnRead, enableCopyOnRead } from '../../../src/io/gates.js'
import { makeZero } from '../../../src/io/make-zero.js'
import { allocatedSize, nodeInfo, roundToClusters } from '../../../src/io/node-info.js'
import { read } from '../../../src/io/read.js'
import { truncate } from '../../../src/io/truncate.js'
import { loadVmstate, saveVmstate } from '../../../src/io/vmstate.js'
import { writeZeroes } from '../../../src/io/write-zeroes.js'
import { edgeOn, link, memoryNode, StubNode } from '../../support/stub-graph.js'

const { environment } = memoryNode(0).node.state
const UNIT = 512

/** A layer of a chain: it has the units listed, the rest comes from below. */
function overlay(length: number, units: Map<number, Uint8Array>, below?: StubNode): StubNode {
  const node: StubNode = new StubNode(
    {
      length: () => length,
      read: async (offset, into) => {
        const unit = units.get(offset / UNIT)
        if (!(into instanceof Uint8Array)) throw new Error('one buffer at a time')
        for (let at = 0; at < into.byteLength; at += UNIT) {
          const own = units.get((offset + at) / UNIT) ?? (at === 0 ? unit : undefined)
          const part = into.subarray(at, at + UNIT)
          if (own !== undefined) part.set(own)
          else if (node.backing === undefined) part.fill(0)
          else await read(node.backing, offset + at, part)
        }
      },
      write: (offset, data) => {
        if (!(data instanceof Uint8Array)) throw new Error('one buffer at a time')
        for (let at = 0; at < data.byteLength; at += UNIT) units.set((offset + at) / UNIT, data.slice(at, at + UNIT))
      },
      blockStatus: (offset) => ({ bits: units.has(offset / UNIT) ? BDRV_BLOCK_DATA : 0, bytes: UNIT }),
      info: () => ({ clusterSize: 1024, vmStateOffset: 0, isDirty: false, needsCompressedWrites: false }),
    },
    { kind: 'format', supportsBacking: true, limits: { requestAlignment: UNIT, maxIov: 1 }, environment },
  )
  if (below !== undefined) link(node, below, 'backing')
  return node
}

const unit = (fill: number) => new Uint8Array(UNIT).fill(fill)

describe('block status', () => {
  it('of a protocol without a callback is data at the same place, up to the end', async () => {
    const { node } = memoryNode(1000)
    const data = BDRV_BLOCK_DATA | BDRV_BLOCK_ALLOCATED | BDRV_BLOCK_OFFSET_VALID
    expect(await blockStatus(node, 100, 100)).toEqual({ bits: data, bytes: 100, map: 100, file: node, depth: 1 })
    expect(await blockStatus(node, 100, 5000)).toMatchObject({ bits: data | BDRV_BLOCK_EOF, bytes: 900 })
    expect(await blockStatus(node, 1000, 1)).toEqual({ bits: BDRV_BLOCK_EOF, bytes: 0, depth: 0 })
  })

  it('rounds to the alignment for the driver and back for the caller', async () => {
    const node = overlay(4096, new Map([[1, unit(1)]]))
    expect(await blockStatus(node, 600, 100)).toMatchObject({
      bits: BDRV_BLOCK_DATA | BDRV_BLOCK_ALLOCATED,
      bytes: 100,
    })
    expect(await blockStatus(node, 600, 4000)).toMatchObject({ bytes: 424 })
    // Nothing below: what is not allocated reads as zero.
    expect(await blockStatus(node, 0, 4096)).toMatchObject({ bits: BDRV_BLOCK_ZERO, bytes: 512, depth: 0 })
  })

  it('of a filter is that of its child; what the child lacks is zero', async () => {
    const { node: below } = memoryNode(512)
    const filter: StubNode = new StubNode({ length: () => 1024, read: () => {} }, { kind: 'filter', environment })
    link(filter, below)
    expect(await blockStatus(filter, 0, 1024)).toMatchObject({ bytes: 512, file: below })
    expect(await blockStatus(filter, 512, 512)).toMatchObject({
      bits: BDRV_BLOCK_ZERO | BDRV_BLOCK_ALLOCATED | BDRV_BLOCK_EOF,
    })
  })

  it('looks through RAW, and for zeroes in the file below where the driver says so', async () => {
    const zeroes: StubNode = new StubNode(
      {
        length: () => 8192,
        read: () => {},
        blockStatus: (_offset, bytes) => ({ bits: BDRV_BLOCK_ZERO, bytes: Math.min(bytes, 1024) }),
      },
      { environment },
    )
    const make = (bits: number) =>
      new StubNode(
        {
          length: () => 4096,
          read: () => {},
          blockStatus: (offset, bytes) => ({ bits, bytes, map: offset + 4096, file: zeroes }),
        },
        { kind: 'format', environment },
      )
    const raw = make(BDRV_BLOCK_RAW | BDRV_BLOCK_OFFSET_VALID)
    expect(await blockStatus(raw, 0, 4096)).toMatchObject({ bits: BDRV_BLOCK_ZERO | BDRV_BLOCK_ALLOCATED, bytes: 1024 })
    const data = BDRV_BLOCK_DATA | BDRV_BLOCK_OFFSET_VALID
    const recurse = make(data | BDRV_BLOCK_RECURSE)
    expect(await blockStatus(recurse, 0, 4096, 'precise')).toMatchObject({
      bits: data | BDRV_BLOCK_ALLOCATED | BDRV_BLOCK_ZERO,
      bytes: 1024,
    })
    expect(await blockStatus(recurse, 0, 4096, 'fast')).toMatchObject({ bytes: 4096 })
  })

  it('remembers a data range of a leaf until zeroes or discards overlap it', async () => {
    let asked = 0
    const { node, io } = memoryNode(8192)
    Object.assign(io, {
      blockStatus: (offset: number) => {
        asked++
        return { bits: BDRV_BLOCK_DATA | BDRV_BLOCK_OFFSET_VALID, bytes: 4096, map: offset, file: node }
      },
    })
    const edge = edgeOn(node)
    await blockStatus(node, 0, 512)
    await blockStatus(node, 2048, 512)
    expect(asked).toBe(1)
    await writeZeroes(edge, 2048, 512)
    await blockStatus(node, 2048, 512)
    expect(asked).toBe(2)
    await discard(edge, 2048, 512)
    await blockStatus(node, 2048, 512)
    expect(asked).toBe(3)
  })
})

describe('the end of a node within a unit', () => {
  it('has a status also where the node has grown since a range up to it was remembered', async () => {
    const { node, io } = memoryNode(1000, { limits: { requestAlignment: UNIT } })
    Object.assign(io, {
      blockStatus: (offset: number, bytes: number) => {
        const bits = BDRV_BLOCK_DATA | BDRV_BLOCK_OFFSET_VALID
        return { bits, bytes: Math.min(bytes, node.state.length - offset), map: offset, file: node }
      },
    })
    await blockStatus(node, 0, 1000)
    await truncate(edgeOn(node), 2048)
    expect((await blockStatus(node, 1010, 500)).bytes).toBeGreaterThan(0)
  })
})

describe('block status above a base', () => {
  const base = overlay(2048, new Map([[0, unit(1)]]))
  const middle = overlay(1024, new Map([[1, unit(2)]]), base)
  const top = overlay(2048, new Map([[3, unit(3)]]), middle)

  it('names the layer that decides', async () => {
    const depth = async (offset: number) => (await blockStatusAbove(top, undefined, offset, UNIT)).depth
    expect([await depth(0), await depth(512), await depth(1536)]).toEqual([3, 2, 1])
    expect(await isAllocatedAbove(top, base, false, 0, UNIT)).toEqual({ depth: 0, bytes: UNIT })
    expect(await isAllocatedAbove(top, base, true, 0, UNIT)).toEqual({ depth: 3, bytes: UNIT })
    expect(await isAllocated(top, 0, UNIT)).toEqual({ allocated: false, bytes: UNIT })
  })

  it('counts what a shorter layer lacks as zeroes allocated there', async () => {
    const status = await blockStatusAbove(top, undefined, 1024, UNIT, 'fast')
    expect(status).toMatchObject({ bits: BDRV_BLOCK_ZERO | BDRV_BLOCK_ALLOCATED, depth: 2, bytes: UNIT })
    expect(await isZeroFast(top, 1024, UNIT)).toBe(true)
    expect(await isZeroFast(top, 0, UNIT)).toBe(false)
    expect(await isZeroFast(top, 2048, 9999)).toBe(true)
  })

  it('sets the end bit exactly at the end of the node asked', async () => {
    const ends = async (offset: number) => (await blockStatusAbove(top, undefined, offset, UNIT)).bits & BDRV_BLOCK_EOF
    expect([await ends(512), await ends(1024), await ends(1536)]).toEqual([0, 0, BDRV_BLOCK_EOF])
  })
})

describe('copy on read', () => {
  it('writes whole clusters of what it found below, and changes nothing visible', async () => {
    const units = new Map<number, Uint8Array>()
    const base = overlay(4096, new Map([0, 1, 2, 3].map((i) => [i, unit(i + 1)])))
    const top = overlay(4096, units, base)
    enableCopyOnRead(top)
    const into = new Uint8Array(100)
    await read(edgeOn(top), 600, into)
    expect(into).toEqual(new Uint8Array(100).fill(2))
    expect([...units.keys()].sort()).toEqual([0, 1])
    await read(edgeOn(top), 600, into)
    expect(top.state.writeGeneration).toBe(1)
    disableCopyOnRead(top)
    expect(top.state.readGates).toBe(0)
    expect(() => disableCopyOnRead(top)).toThrow(/not enabled/)
  })

  it('only populates for a prefetch, never writes an inactive or read-only node, fails when the copy fails', async () => {
    const units = new Map<number, Uint8Array>()
    const base = overlay(4096, new Map([[0, unit(1)]]))
    const top = overlay(4096, units, base)
    const flags = BDRV_REQ_COPY_ON_READ | BDRV_REQ_PREFETCH
    top.openFlags = 0
    const into = new Uint8Array(UNIT).fill(9)
    await read(edgeOn(top), 0, into, BDRV_REQ_COPY_ON_READ)
    expect([into[0], units.size]).toEqual([1, 0])
    top.openFlags = BDRV_O_RDWR
    into.fill(9)
    await read(edgeOn(top), 0, into, flags)
    expect([into[0], units.size]).toEqual([9, 2])
    top.io.write = () => {
      throw new BlockError('ENOSPC', 'full')
    }
    await expect(read(edgeOn(top), 2048, into, flags)).rejects.toMatchObject({ code: 'ENOSPC' })
    expect(top.state).toMatchObject({ inFlight: 0, serialising: 0 })
  })

  it('fills the whole buffer also where the node becomes shorter on the way', async () => {
    const units = new Map<number, Uint8Array>()
    const top = overlay(4096, units, overlay(4096, new Map([[0, unit(1)]])))
    const write = top.io.write?.bind(top.io)
    top.io.write = (offset, data, flags) => {
      top.state.length = 1024
      return write?.(offset, data, flags)
    }
    const into = new Uint8Array(4096).fill(9)
    await read(edgeOn(top), 0, into, BDRV_REQ_COPY_ON_READ)
    expect(into.includes(9)).toBe(false)
  })
})

describe('copy range', () => {
  const pair = () => {
    const source = memoryNode(Uint8Array.from({ length: 4096 }, (_, i) => i & 0xff))
    const target = memoryNode(4096, { environment: source.node.state.environment })
    Object.assign(source.io, {
      copyRangeFrom: (
        offset: number,
        to: { copyFrom: (...args: unknown[]) => unknown },
        at: number,
        n: number,
        flags: number,
      ) => to.copyFrom({ node: source.node }, offset, at, n, flags),
    })
    Object.assign(target.io, {
      copyRangeTo: (_from: unknown, sourceOffset: number, offset: number, n: number) => {
        target.io.bytes.set(source.io.bytes.subarray(sourceOffset, sourceOffset + n), offset)
      },
    })
    return { source, target }
  }

  it('goes from leaf to leaf and settles as a write of the target', async () => {
    const { source, target } = pair()
    await copyRange(edgeOn(source.node), 100, edgeOn(target.node), 1000, 500)
    expect(target.io.bytes.subarray(1000, 1500)).toEqual(source.io.bytes.subarray(100, 600))
    expect(target.node.state).toMatchObject({ writeGeneration: 1, inFlight: 0, writtenUpTo: 1500 })
    expect(source.node.state.inFlight).toBe(0)
    await copyRange(edgeOn(source.node), 0, edgeOn(target.node), 1000, 500, BDRV_REQ_ZERO_WRITE)
    expect(target.io.bytes.subarray(1000, 1500).every((byte) => byte === 0)).toBe(true)
  })

  it('says ENOTSUP, EINVAL and EPERM before anything moves', async () => {
    const { source, target } = pair()
    const from = edgeOn(source.node)
    const to = edgeOn(target.node)
    await expect(copyRange(from, 0, to, 0, 512, BDRV_REQ_NO_FALLBACK)).rejects.toMatchObject({ code: 'EINVAL' })
    await expect(copyRange(from, 4000, to, 0, 512)).rejects.toMatchObject({ code: 'EINVAL' })
    await expect(copyRange(to, 0, from, 0, 512)).rejects.toMatchObject({ code: 'ENOTSUP' })
    to.perm = 1
    await expect(copyRange(from, 0, to, 0, 512)).rejects.toMatchObject({ code: 'EPERM' })
    target.node.driver = { ...target.node.driver, encrypted: true }
    to.perm = 15
    await expect(copyRange(from, 0, to, 0, 512)).rejects.toMatchObject({ code: 'ENOTSUP' })
    await expect(copyRangeFrom(to, 0, { copyFrom: () => {} }, 0, 512, 0)).rejects.toMatchObject({ code: 'ENOTSUP' })
  })
})

describe('make zero', () => {
  it('touches only what does not read as zero', async () => {
    const units = new Map([
      [1, unit(1)],
      [3, unit(2)],
    ])
    const node = overlay(4096, units)
    const zeroed: number[] = []
    node.io.writeZeroes = (offset, n) => {
      for (let at = 0; at < n; at += UNIT) units.delete((offset + at) / UNIT)
      zeroed.push(offset)
    }
    await makeZero(edgeOn(node))
    expect(zeroed).toEqual([512, 1536])
  })
})

describe('node info and VM state', () => {
  it('sums what children hold, asks filters of their child, rounds to clusters', async () => {
    const { node: a, io } = memoryNode(4096)
    Object.assign(io, { allocatedSize: () => 100 })
    const top = overlay(4096, new Map(), overlay(4096, new Map()))
    link(top, a, 'file', 19)
    expect(await allocatedSize(top)).toBe(100)
    await expect(allocatedSize(memoryNode(1).node)).rejects.toMatchObject({ code: 'ENOTSUP' })
    expect(await roundToClusters(top, 1000, 100)).toEqual({ offset: 0, bytes: 2048 })
    expect(await roundToClusters(a, 1000, 100)).toEqual({ offset: 1000, bytes: 100 })
    const filter: StubNode = new StubNode({ length: () => 4096, read: () => {} }, { kind: 'filter', environment })
    link(filter, top)
    expect((await nodeInfo(filter)).clusterSize).toBe(1024)
    await expect(nodeInfo(a)).rejects.toMatchObject({ code: 'ENOTSUP' })
  })

  it('passes VM state to the first primary child with a door', async () => {
    const stored: number[] = []
    const { node, io } = memoryNode(4096)
    Object.assign(io, {
      vmstate: {
        save: (offset: number) => void stored.push(offset),
        load: (_offset: number, into: Uint8Array) => void into.fill(5),
      },
    })
    const filter: StubNode = new StubNode({ length: () => 4096, read: () => {} }, { kind: 'filter', environment })
    link(filter, node)
    await saveVmstate(filter, 77, new Uint8Array(10))
    const into = new Uint8Array(4)
    await loadVmstate(filter, 0, into)
    expect([stored, [...into]]).toEqual([[77], [5, 5, 5, 5]])
    expect(node.state).toMatchObject({ writeGeneration: 1, inFlight: 0 })
    await expect(saveVmstate(memoryNode(1).node, 0, into)).rejects.toMatchObject({ code: 'ENOTSUP' })
    node.openFlags = 0
    await expect(saveVmstate(filter, 0, into)).rejects.toMatchObject({ code: 'EPERM' })
  })
})
