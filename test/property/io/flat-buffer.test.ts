// Whatever the limits of the nodes, whatever the alignment and the order of completion: a stack of nodes is a flat buffer.

import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { BlockError } from '../../../src/common/error.js'
import { IoVector } from '../../../src/common/io-vector.js'
import type { BlockLimits } from '../../../src/common/limits.js'
import { BDRV_REQ_FUA, BDRV_REQ_MAY_UNMAP, BDRV_REQ_SERIALISING } from '../../../src/common/request.js'
import type { BlockChild } from '../../../src/io/block-node.js'
import { discard } from '../../../src/io/discard.js'
import { flush } from '../../../src/io/flush.js'
import type { NodeIo } from '../../../src/io/node-io.js'
import { read } from '../../../src/io/read.js'
import { truncate } from '../../../src/io/truncate.js'
import { write } from '../../../src/io/write.js'
import { writeZeroes } from '../../../src/io/write-zeroes.js'
import { type Call, edgeOn, link, MemoryIo, StubNode, without } from '../../support/stub-graph.js'
import { drainMicrotasks } from '../../support/virtual-clock.js'

const MAX = 24_000

interface Layer {
  align: number
  maxTransfer: number
  zeroAlign: number
  maxZero: number
  discardAlign: number
  maxDiscard: number
  maxIov: number
  zero: 'all' | 'aligned' | 'none'
  fua: boolean
}

interface Op {
  kind: 'read' | 'write' | 'zero' | 'discard' | 'flush'
  offset: number
  bytes: number
  fill: number
  flags: number
  pieces: number
}

const layer: fc.Arbitrary<Layer> = fc.record({
  align: fc.constantFrom(1, 2, 64, 512, 4096),
  maxTransfer: fc.constantFrom(0, 1, 3, 8),
  zeroAlign: fc.constantFrom(0, 1, 2, 8),
  maxZero: fc.constantFrom(0, 1, 5),
  discardAlign: fc.constantFrom(0, 1, 4),
  maxDiscard: fc.constantFrom(0, 1, 5),
  maxIov: fc.integer({ min: 1, max: 4 }),
  zero: fc.constantFrom('all' as const, 'aligned' as const, 'none' as const),
  fua: fc.boolean(),
})

const op: fc.Arbitrary<Op> = fc.record({
  kind: fc.constantFrom(
    'read' as const,
    'write' as const,
    'write' as const,
    'zero' as const,
    'discard' as const,
    'flush' as const,
  ),
  offset: fc.oneof(
    fc.nat(MAX),
    fc.nat(40).map((n) => n * 512),
  ),
  bytes: fc.oneof(
    fc.nat(9000),
    fc.nat(600),
    fc.nat(16).map((n) => n * 512),
  ),
  fill: fc.integer({ min: 1, max: 255 }),
  flags: fc.constantFrom(0, 0, BDRV_REQ_FUA, BDRV_REQ_SERIALISING, BDRV_REQ_MAY_UNMAP),
  pieces: fc.integer({ min: 1, max: 6 }),
})

const step = fc.oneof(
  { weight: 6, arbitrary: fc.record({ batch: fc.array(op, { minLength: 1, maxLength: 6 }) }) },
  { weight: 1, arbitrary: fc.record({ length: fc.nat(MAX) }) },
)

function limitsOf(l: Layer): Partial<BlockLimits> {
  return {
    requestAlignment: l.align,
    maxTransfer: l.maxTransfer * Math.max(l.align, 128),
    writeZeroesAlignment: l.zeroAlign * l.align,
    maxWriteZeroes: l.maxZero * Math.max(l.zeroAlign, 1) * l.align * 8,
    discardAlignment: l.discardAlign * l.align,
    maxDiscard: l.maxDiscard * Math.max(l.discardAlign, 1) * l.align * 8,
    maxIov: l.maxIov,
  }
}

function trim(io: MemoryIo, l: Layer): void {
  if (l.zero === 'none') without(io, 'writeZeroes')
  if (l.zero === 'aligned') {
    const plain = MemoryIo.prototype.writeZeroes
    const unit = Math.max(l.zeroAlign, 1) * l.align
    io.writeZeroes = function (this: MemoryIo, offset, bytes, flags) {
      if (offset % unit !== 0 || bytes % unit !== 0) throw new BlockError('ENOTSUP', 'unaligned')
      return plain?.call(this, offset, bytes, flags)
    }
  }
}

function checkCalls(calls: readonly Call[], l: Layer): void {
  const limits = limitsOf(l)
  for (const call of calls) {
    if (call.op === 'read' || call.op === 'write') {
      expect(call.offset % l.align, call.op).toBe(0)
      expect(call.bytes % l.align, call.op).toBe(0)
      if (limits.maxTransfer) expect(call.bytes).toBeLessThanOrEqual(limits.maxTransfer)
    }
    if (call.op === 'write-zeroes' && limits.maxWriteZeroes) {
      expect(call.bytes).toBeLessThanOrEqual(Math.max(limits.maxWriteZeroes, l.align * Math.max(l.zeroAlign, 1)))
    }
    if (call.op === 'discard' && limits.maxDiscard) {
      expect(call.bytes).toBeLessThanOrEqual(Math.max(limits.maxDiscard, l.align * Math.max(l.discardAlign, 1)))
    }
  }
}

function passThrough(below: StubNode, l: Layer): StubNode {
  const edge = (): BlockChild => {
    const child = node.file
    if (child === undefined) throw new Error('no child')
    return child
  }
  const io: NodeIo = {
    length: () => below.state.length,
    read: (offset, into) => read(edge(), offset, into),
    write: (offset, data, flags) => write(edge(), offset, data, flags),
    discard: (offset, bytes) => discard(edge(), offset, bytes),
    truncate: (length, options) => truncate(edge(), length, options),
  }
  if (l.zero !== 'none') io.writeZeroes = (offset, bytes, flags) => writeZeroes(edge(), offset, bytes, flags)
  const node = new StubNode(io, {
    kind: 'format',
    limits: limitsOf(l),
    writeFlags: l.fua ? BDRV_REQ_FUA : 0,
    zeroFlags: l.fua ? BDRV_REQ_FUA | BDRV_REQ_MAY_UNMAP : 0,
    environment: below.state.environment,
  })
  link(node, below)
  return node
}

function cut(buffer: Uint8Array, pieces: number): Uint8Array | IoVector {
  if (pieces === 1) return buffer
  const size = Math.max(Math.ceil(buffer.byteLength / pieces), 1)
  const views: Uint8Array[] = []
  for (let at = 0; at < buffer.byteLength; at += size) views.push(buffer.subarray(at, at + size))
  return new IoVector(views)
}

/** Ranges that do not overlap, clipped to the length: in flight together they have one possible outcome. */
function disjoint(batch: readonly Op[], length: number): Op[] {
  const taken: Op[] = []
  for (const one of batch) {
    const offset = Math.min(one.offset, length)
    const clipped = { ...one, offset, bytes: Math.min(one.bytes, length - offset) }
    const free = taken.every((o) => o.offset + o.bytes <= clipped.offset || clipped.offset + clipped.bytes <= o.offset)
    if (free) taken.push(clipped)
  }
  return taken
}

async function start(edge: BlockChild, one: Op, model: Uint8Array): Promise<void> {
  const { kind, offset, bytes } = one
  const flags = kind === 'zero' ? one.flags : one.flags & ~BDRV_REQ_MAY_UNMAP
  if (kind === 'write') {
    const data = new Uint8Array(bytes).map((_, i) => (one.fill + i) & 0xff)
    model.set(data, offset)
    await write(edge, offset, cut(data, one.pieces), flags)
  } else if (kind === 'zero') {
    model.fill(0, offset, offset + bytes)
    await writeZeroes(edge, offset, bytes, flags)
  } else if (kind === 'discard') await discard(edge, offset, bytes)
  else if (kind === 'flush') await flush(edge)
  else {
    const expected = model.slice(offset, offset + bytes)
    const into = new Uint8Array(bytes).fill(0xaa)
    await read(edge, offset, cut(into, one.pieces))
    expect(Buffer.compare(into, expected), `read of ${bytes} at ${offset}`).toBe(0)
  }
}

describe('a stack of nodes', () => {
  it('is a flat buffer', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(layer, { minLength: 1, maxLength: 3 }),
        fc.integer({ min: 0, max: MAX }),
        fc.constantFrom('sync' as const, 'async' as const, 'held' as const),
        fc.array(step, { minLength: 1, maxLength: 12 }),
        fc.infiniteStream(fc.nat(1000)),
        async (layers, length, mode, steps, random) => {
          const bottom = layers[0] as Layer
          const io = new MemoryIo(length)
          trim(io, bottom)
          io.mode = mode
          let top = new StubNode(io, {
            limits: limitsOf(bottom),
            writeFlags: bottom.fua ? BDRV_REQ_FUA : 0,
            zeroFlags: bottom.fua ? BDRV_REQ_FUA : 0,
          })
          const nodes = [top]
          for (const upper of layers.slice(1)) {
            top = passThrough(top, upper)
            nodes.push(top)
          }
          const edge = edgeOn(top)
          let model = new Uint8Array(length)
          const finish = async (work: Promise<unknown>): Promise<void> => {
            let pending = true
            const watched = work.finally(() => {
              pending = false
            })
            // Whatever the driver holds completes in any order; nothing held and nothing done is a lost wake-up.
            for (let idle = 0; pending && idle < 3; ) {
              await drainMicrotasks()
              const pick = (random.next().value as number) % Math.max(io.held.length, 1)
              const [one] = io.held.splice(pick, 1)
              if (one === undefined) idle++
              else {
                idle = 0
                one.finish()
              }
            }
            await drainMicrotasks()
            expect(pending, 'requests that never settle').toBe(false)
            await watched
          }
          for (const one of steps) {
            if ('length' in one) {
              await finish(truncate(edge, one.length))
              const next = new Uint8Array(one.length)
              next.set(model.subarray(0, one.length))
              model = next
              expect(top.state.length).toBe(one.length)
            } else {
              const batch = disjoint(one.batch, model.byteLength)
              await finish(Promise.all(batch.map((each) => start(edge, each, model))))
            }
          }
          const into = new Uint8Array(model.byteLength)
          if (into.byteLength > 0) await finish(Promise.resolve(read(edge, 0, into)))
          expect(Buffer.compare(into, model), 'final content').toBe(0)
          checkCalls(io.calls, bottom)
          for (const node of nodes) {
            expect(node.state.inFlight).toBe(0)
            expect(node.state.first).toBeUndefined()
            expect(node.state.serialising).toBe(0)
            expect(node.state.readGates).toBe(0)
          }
        },
      ),
      { numRuns: 300 },
    )
  })
})
