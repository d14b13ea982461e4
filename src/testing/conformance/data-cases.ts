// Conformance: what is written reads back, at any alignment, and nothing else changes.

import { BlockError } from '../../common/error.js'
import { IoVector } from '../../common/io-vector.js'
import { BDRV_REQ_FUA, BDRV_REQ_MAY_UNMAP } from '../../common/request.js'
import { KiB } from '../../common/units.js'
import { readBack, type TestDisk, withDisk } from './open-disk.js'
import {
  check,
  checkOldOrZero,
  checkSame,
  type DriverSupports,
  type FixtureFactory,
  pattern,
  type SuiteApi,
} from './suite.js'

const SIZE = 256 * KiB

/** Offsets and lengths around every alignment that matters. */
const RANGES: readonly (readonly [number, number])[] = [
  [0, 512],
  [4096, 4096],
  [0, 64 * KiB],
  [64 * KiB - 512, 1024],
  [1, 1],
  [511, 2],
  [4095, 4098],
  [65535, 65538],
  [SIZE - 1, 1],
  [SIZE - 4097, 4097],
  [50_000, 150_001],
]

/** Declares the cases. */
export function dataCases(factory: FixtureFactory, supports: DriverSupports, { it }: SuiteApi): void {
  const disk = (body: (disk: TestDisk) => Promise<void>) => () => withDisk(factory, supports, SIZE, body)
  it(
    'has the length it was made with',
    disk(async ({ node }) => check(node.state.length === SIZE, `length ${node.state.length}`)),
  )
  it('refuses what lies outside with a BlockError and changes nothing', disk(outsideCase))
  it('does nothing for a request of no bytes', disk(emptyCase))
  if (supports.readsZeroes ?? true) {
    it(
      'reads as zeroes when new',
      disk(async (test) => checkSame(await readBack(test, 0, SIZE), new Uint8Array(SIZE), 'new disk')),
    )
  }
  if (!(supports.write ?? true)) {
    it('refuses writing where it is read-only', disk(readOnlyCase))
    return
  }
  it('flushes, also twice and with FUA', disk(flushCase))
  it('takes zero writes and discards of any alignment', disk(zeroAndDiscardCase))
  if (!(supports.keepsData ?? true)) return
  for (const [offset, bytes] of RANGES) {
    it(
      `reads back ${bytes} bytes at ${offset}`,
      disk((test) => readBackCase(test, offset, bytes)),
    )
    it(
      `zeroes ${bytes} bytes at ${offset}`,
      disk((test) => zeroCase(test, offset, bytes)),
    )
    it(
      `leaves the neighbours of a discard of ${bytes} bytes at ${offset}`,
      disk((test) => discardCase(test, offset, bytes, supports)),
    )
  }
  it('gathers and scatters', disk(vectorCase))
  it('is done with a buffer when it completes', disk(bufferCase))
  it('runs requests that do not overlap side by side', disk(concurrentCase))
}

async function outsideCase(test: TestDisk): Promise<void> {
  const { backend } = test
  const before = await readBack(test, SIZE - 512, 512)
  const data = new Uint8Array(1024)
  await fails('read across the end', () => backend.read(SIZE - 512, data))
  await fails('read behind the end', () => backend.read(SIZE, data))
  await fails('write across the end', () => backend.write(SIZE - 512, data))
  await fails('zero write across the end', () => backend.writeZeroes(SIZE - 512, 1024))
  await fails('negative offset', () => backend.read(-512, data))
  await fails('offset that is no integer', () => backend.read(0.5, data))
  await fails('offset that is too large', () => backend.read(2 ** 60, data))
  checkSame(await readBack(test, SIZE - 512, 512), before, 'end of the disk')
}

async function emptyCase(test: TestDisk): Promise<void> {
  const none = new Uint8Array(0)
  for (const offset of [0, 1, SIZE]) await test.backend.read(offset, none)
  check(test.node.state.length === SIZE, 'the length changed')
}

async function readOnlyCase({ backend }: TestDisk): Promise<void> {
  await fails('write', () => backend.write(0, new Uint8Array(512)))
  await fails('zero write', () => backend.writeZeroes(0, 512))
}

async function flushCase(test: TestDisk): Promise<void> {
  await test.backend.flush()
  await test.backend.write(0, pattern(512, 1))
  await test.backend.flush()
  await test.backend.flush()
  await test.backend.write(512, pattern(512, 2), { flags: BDRV_REQ_FUA })
}

async function zeroAndDiscardCase({ backend, node }: TestDisk): Promise<void> {
  for (const [offset, bytes] of RANGES) {
    await backend.writeZeroes(offset, bytes)
    await backend.writeZeroes(offset, bytes, { flags: BDRV_REQ_MAY_UNMAP })
    await backend.discard(offset, bytes)
  }
  check(node.state.length === SIZE, 'the length changed')
}

async function readBackCase(test: TestDisk, offset: number, bytes: number): Promise<void> {
  const expected = await filled(test, 3)
  const data = pattern(bytes, 4)
  await test.backend.write(offset, data)
  expected.set(data, offset)
  checkSame(await readBack(test, 0, SIZE), expected, 'the whole disk')
  checkSame(await readBack(test, offset, bytes), data, 'the range written')
}

async function zeroCase(test: TestDisk, offset: number, bytes: number): Promise<void> {
  for (const flags of [0, BDRV_REQ_MAY_UNMAP]) {
    const expected = await filled(test, 5)
    await test.backend.writeZeroes(offset, bytes, { flags })
    expected.fill(0, offset, offset + bytes)
    checkSame(await readBack(test, 0, SIZE), expected, `the whole disk, flags ${flags}`)
  }
}

async function discardCase(test: TestDisk, offset: number, bytes: number, supports: DriverSupports): Promise<void> {
  const expected = await filled(test, 6)
  await test.backend.discard(offset, bytes)
  const actual = await readBack(test, 0, SIZE)
  const kept = actual.subarray(offset, offset + bytes)
  const old = expected.slice(offset, offset + bytes)
  checkOldOrZero(kept, old, `the discard at ${offset}`)
  const whole = offset % (64 * KiB) === 0 && bytes % (64 * KiB) === 0
  if (whole && (supports.discardZeroes ?? false)) checkSame(kept, new Uint8Array(bytes), 'the discarded range')
  expected.set(kept, offset)
  checkSame(actual, expected, 'outside of the discarded range')
}

async function vectorCase(test: TestDisk): Promise<void> {
  const parts = [1, 511, 4096, 3, 70_000].map((bytes, index) => pattern(bytes, index + 7))
  const data = new IoVector(parts)
  await test.backend.write(4000, data)
  const flat = await readBack(test, 4000, data.byteLength)
  const into = new IoVector([70_000, 4096, 512, 3].map((bytes) => new Uint8Array(bytes)))
  await test.backend.read(4000, into)
  let position = 0
  for (const part of parts) {
    checkSame(flat.subarray(position, position + part.byteLength), part, 'what was gathered')
    position += part.byteLength
  }
  position = 0
  for (const part of into.buffers) {
    checkSame(part, flat.subarray(position, position + part.byteLength), 'what was scattered')
    position += part.byteLength
  }
}

async function bufferCase(test: TestDisk): Promise<void> {
  const data = pattern(8192, 12)
  const kept = data.slice()
  await test.backend.write(0, data)
  checkSame(data, kept, 'the buffer of a write')
  data.fill(0xff)
  const into = await readBack(test, 0, 8192)
  checkSame(into, kept, 'what was written')
  await test.backend.write(0, data)
  checkSame(into, kept, 'the buffer of a read that is over')
}

async function concurrentCase(test: TestDisk): Promise<void> {
  const expected = await filled(test, 13)
  const slots = 32
  const slot = SIZE / slots
  const requests: Promise<void>[] = []
  for (let index = 0; index < slots; index++) {
    // Odd offsets and lengths: neighbours share alignment units without overlapping.
    const data = pattern(slot - 2, index + 14)
    expected.set(data, index * slot + 1)
    requests.push(test.backend.write(index * slot + 1, data))
  }
  for (const settled of await Promise.allSettled(requests)) if (settled.status === 'rejected') throw settled.reason
  checkSame(await readBack(test, 0, SIZE), expected, 'the whole disk')
}

async function filled(test: TestDisk, seed: number): Promise<Uint8Array> {
  const data = pattern(SIZE, seed)
  await test.backend.write(0, data)
  return data.slice()
}

/** Fails a test unless `run` rejects with a BlockError. */
export async function fails(what: string, run: () => Promise<unknown>): Promise<BlockError> {
  let thrown: unknown
  try {
    await run()
  } catch (error) {
    thrown = error
  }
  check(thrown !== undefined, `${what}: did not fail`)
  check(thrown instanceof BlockError, `${what}: failed with ${String(thrown)}, not with a BlockError`)
  return thrown
}
