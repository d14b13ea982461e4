// Random reads, writes, zero writes, discards and truncates at any alignment, over random limits and random chains with
// shorter and longer layers, equal a flat buffer. The graph is the real one.

import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { BDRV_BLOCK_ZERO } from '../../src/common/block-status.js'
import { BDRV_REQ_FUA, BDRV_REQ_MAY_UNMAP } from '../../src/common/request.js'
import { overlayDriver } from '../../src/testing/overlay-driver.js'
import { openRig, type Rig } from '../support/driver-rig.js'

const MOST = 96 * 1024

const limits = fc.record({
  align: fc.constantFrom(1, 512, 1024, 4096),
  'max-transfer': fc.constantFrom(0, 4096, 8192, 65536),
  'opt-write-zero': fc.constantFrom(0, 4096, 8192),
  'max-write-zero': fc.constantFrom(0, 8192, 32768),
  'opt-discard': fc.constantFrom(0, 4096),
  'max-discard': fc.constantFrom(0, 8192),
})

const layer = fc.record({
  sectors: fc.integer({ min: 8, max: MOST / 512 }),
  clusterSize: fc.constantFrom(512, 4096, 16384),
  limits: fc.option(limits, { nil: undefined }),
  copyOnRead: fc.boolean(),
})

const position = fc.nat({ max: 1 << 20 })
const length = fc.oneof(fc.integer({ min: 1, max: 20000 }), fc.constantFrom(511, 512, 4096, 65536))
const operation = fc.oneof(
  { weight: 4, arbitrary: fc.record({ kind: fc.constant('read' as const), at: position, bytes: length }) },
  {
    weight: 5,
    arbitrary: fc.record({
      kind: fc.constant('write' as const),
      at: position,
      bytes: length,
      seed: fc.integer({ min: 1, max: 255 }),
      fua: fc.boolean(),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({ kind: fc.constant('zero' as const), at: position, bytes: length, unmap: fc.boolean() }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('discard' as const), at: position, bytes: length }) },
  {
    weight: 1,
    arbitrary: fc.record({ kind: fc.constant('truncate' as const), sectors: fc.integer({ min: 1, max: MOST / 512 }) }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('status' as const), at: position, bytes: length }) },
)

type Operation = typeof operation extends fc.Arbitrary<infer T> ? T : never
type Layer = typeof layer extends fc.Arbitrary<infer T> ? T : never

describe('a chain of layers with limits', () => {
  it('equals a flat buffer', { timeout: 120_000 }, async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(layer, { minLength: 1, maxLength: 4 }),
        fc.array(operation, { minLength: 4, maxLength: 30 }),
        async (layers, operations) => {
          await runChain(layers, operations)
        },
      ),
      { numRuns: 200 },
    )
  })
})

async function runChain(layers: readonly Layer[], operations: readonly Operation[]): Promise<void> {
  const rig = await openRig(chainOptions(layers), { drivers: [overlayDriver] })
  const flat = await fillBase(rig, layers)
  for (const each of operations) await step(rig, flat, each)
  await expectSame(rig, flat, 0, flat.length)
  expect(rig.node.state.inFlight).toBe(0)
  expect(await rig.close()).toBe(0)
}

/** The first layer is the top; below the last is a memory node. */
function chainOptions(layers: readonly Layer[]): Record<string, unknown> {
  let below: Record<string, unknown> = { driver: 'memory', 'node-name': 'base', size: MOST, 'read-only': false }
  for (const [index, each] of [...layers].reverse().entries()) {
    let node: Record<string, unknown> = {
      driver: 'overlay',
      'node-name': `layer${index}`,
      size: each.sectors * 512,
      'read-only': false,
      'cluster-size': each.clusterSize,
      backing: below,
    }
    if (each.limits !== undefined) node = { driver: 'blkdebug', 'read-only': false, image: node, ...soundLimits(each) }
    if (each.copyOnRead) node = { driver: 'copy-on-read', 'read-only': false, file: node }
    below = node
  }
  return below
}

/** Limits are multiples of the alignment, and a node's length of every alignment above it. */
function soundLimits(each: Layer): Record<string, number> {
  const align = each.sectors % 8 === 0 ? (each.limits?.align ?? 1) : Math.min(each.limits?.align ?? 1, 512)
  const sound: Record<string, number> = { align }
  for (const [name, value] of Object.entries(each.limits ?? {}))
    if (name !== 'align' && value !== 0) sound[name] = value
  return sound
}

/** Writes a pattern to the lowest layer, before anything else, and returns what the top must read as. */
async function fillBase(rig: Rig, layers: readonly Layer[]): Promise<{ bytes: Uint8Array; length: number }> {
  const base = rig.graph.node('base')
  const pattern = Uint8Array.from({ length: MOST }, (_, i) => (i % 251) + 1)
  base.io.write?.(0, pattern, 0)
  let visible = MOST
  for (const each of layers) visible = Math.min(visible, each.sectors * 512)
  const length = (layers[0]?.sectors ?? 0) * 512
  const bytes = new Uint8Array(MOST)
  bytes.set(pattern.subarray(0, visible))
  return { bytes, length }
}

type Flat = { bytes: Uint8Array; length: number }

async function step(rig: Rig, flat: Flat, each: Operation): Promise<void> {
  if (each.kind === 'truncate') {
    await truncateTo(rig, flat, each.sectors * 512)
    return
  }
  const at = each.at % flat.length
  const bytes = Math.min(each.bytes, flat.length - at)
  switch (each.kind) {
    case 'read':
      await expectSame(rig, flat, at, bytes)
      return
    case 'write': {
      const data = Uint8Array.from({ length: bytes }, (_, i) => (each.seed * 7 + i) & 0xff)
      await rig.backend.write(at, data, { flags: each.fua ? BDRV_REQ_FUA : 0 })
      flat.bytes.set(data, at)
      return
    }
    case 'zero':
      await rig.backend.writeZeroes(at, bytes, { flags: each.unmap ? BDRV_REQ_MAY_UNMAP : 0 })
      flat.bytes.fill(0, at, at + bytes)
      return
    case 'discard':
      await rig.backend.discard(at, bytes)
      await acceptDiscard(rig, flat, at, bytes)
      return
    case 'status':
      await checkZeroes(rig, flat, at, bytes)
  }
}

async function truncateTo(rig: Rig, flat: Flat, length: number): Promise<void> {
  const alignment = rig.node.state.limits.requestAlignment
  const target = Math.max(Math.ceil(length / alignment) * alignment, alignment)
  if (target > MOST) return
  await rig.backend.truncate(target)
  flat.bytes.fill(0, Math.min(target, flat.length), MOST)
  flat.length = target
  expect(rig.backend.length).toBe(target)
}

/** A discarded byte reads as before or as zero, and from then on as what it read as. */
async function acceptDiscard(rig: Rig, flat: Flat, at: number, bytes: number): Promise<void> {
  const now = new Uint8Array(bytes)
  await rig.backend.read(at, now)
  for (let i = 0; i < bytes; i++) {
    if (now[i] !== 0) expect(now[i]).toBe(flat.bytes[at + i])
    flat.bytes[at + i] = now[i] ?? 0
  }
}

async function expectSame(rig: Rig, flat: Flat, at: number, bytes: number): Promise<void> {
  const into = new Uint8Array(bytes).fill(0xee)
  await rig.backend.read(at, into)
  expect(Buffer.compare(into, flat.bytes.subarray(at, at + bytes))).toBe(0)
}

/** What is said to be zero is zero, the runs cover the range, and none is empty. */
async function checkZeroes(rig: Rig, flat: Flat, at: number, bytes: number): Promise<void> {
  for (let done = 0; done < bytes; ) {
    const status = await rig.backend.blockStatus(at + done, bytes - done)
    expect(status.bytes).toBeGreaterThan(0)
    if ((status.bits & BDRV_BLOCK_ZERO) !== 0) {
      const run = flat.bytes.subarray(at + done, at + Math.min(done + status.bytes, bytes))
      expect(run.every((byte) => byte === 0)).toBe(true)
    }
    done += status.bytes
  }
}
