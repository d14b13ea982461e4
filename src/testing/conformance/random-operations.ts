// Conformance: random requests against a flat buffer. fast-check prints seed and path of a failure; hand them back in
// `supports.replay`.

import * as fc from 'fast-check'
import { BDRV_REQ_FUA, BDRV_REQ_MAY_UNMAP } from '../../common/request.js'
import { KiB } from '../../common/units.js'
import { readBack, type TestDisk, withDisk } from './open-disk.js'
import { checkStatus } from './status-cases.js'
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

/** One request of a random run; positions are fractions of the length then, so that shrinking keeps them inside. */
export type RandomOperation =
  | { kind: 'read' | 'discard'; at: number; bytes: number }
  | { kind: 'write'; at: number; bytes: number; seed: number; fua: boolean }
  | { kind: 'zero'; at: number; bytes: number; unmap: boolean }
  | { kind: 'flush' }
  | { kind: 'truncate'; length: number }
  | { kind: 'parallel'; seed: number; slots: number }

const position = fc.oneof(
  fc.integer({ min: 0, max: SIZE - 1 }),
  fc.integer({ min: 0, max: SIZE / 4096 - 1 }).map((index) => index * 4096),
  fc.integer({ min: 0, max: SIZE / 512 - 1 }).map((index) => index * 512 + 511),
)

const extent = fc.oneof(fc.integer({ min: 1, max: 9000 }), fc.constantFrom(1, 511, 512, 513, 4096, 65536, 131072))

const readOrDiscard = fc.record({
  kind: fc.constantFrom('read' as const, 'discard' as const),
  at: position,
  bytes: extent,
})
const write = fc.record({
  kind: fc.constant('write' as const),
  at: position,
  bytes: extent,
  seed: fc.integer({ min: 0, max: 250 }),
  fua: fc.boolean(),
})
const zero = fc.record({ kind: fc.constant('zero' as const), at: position, bytes: extent, unmap: fc.boolean() })
const flush = fc.record({ kind: fc.constant('flush' as const) })
const parallel = fc.record({
  kind: fc.constant('parallel' as const),
  seed: fc.integer({ min: 0, max: 250 }),
  slots: fc.integer({ min: 2, max: 12 }),
})
const truncate = fc.record({
  kind: fc.constant('truncate' as const),
  length: fc.oneof(
    fc.integer({ min: 1, max: SIZE / 512 }).map((sectors) => sectors * 512),
    fc.constant(SIZE),
  ),
})

/** Random requests as data. */
export function randomOperations(options: { truncate: boolean }): fc.Arbitrary<RandomOperation[]> {
  const weighted = [
    { arbitrary: readOrDiscard, weight: 3 },
    { arbitrary: write, weight: 5 },
    { arbitrary: zero, weight: 2 },
    { arbitrary: flush, weight: 1 },
    { arbitrary: parallel, weight: 1 },
  ] as const
  const operation: fc.Arbitrary<RandomOperation> = options.truncate
    ? fc.oneof(...weighted, { arbitrary: truncate, weight: 1 })
    : fc.oneof(...weighted)
  return fc.array(operation, { minLength: 1, maxLength: 40 })
}

/** Declares the case. */
export function randomCases(factory: FixtureFactory, supports: DriverSupports, { it }: SuiteApi): void {
  if (!(supports.write ?? true) || !(supports.keepsData ?? true)) return
  it('agrees with a flat buffer under random requests', () => {
    const canTruncate = (supports.truncate ?? 'any') === 'any'
    const property = fc.asyncProperty(randomOperations({ truncate: canTruncate }), (operations) =>
      withDisk(factory, supports, SIZE, async (disk) => {
        const run = new FlatModel(disk, (await readBack(disk, 0, SIZE)).slice())
        for (const operation of operations) await run.perform(operation)
        await run.compare()
        await checkStatus(disk)
      }),
    )
    return fc.assert(property, { numRuns: supports.runs ?? 30, ...supports.replay })
  })
}

/** The disk as one buffer. */
class FlatModel {
  readonly #disk: TestDisk
  #content: Uint8Array

  constructor(disk: TestDisk, content: Uint8Array) {
    this.#disk = disk
    this.#content = content
  }

  async compare(): Promise<void> {
    checkSame(await readBack(this.#disk, 0, this.#content.byteLength), this.#content, 'the whole disk')
  }

  async perform(operation: RandomOperation): Promise<void> {
    const { backend, node } = this.#disk
    switch (operation.kind) {
      case 'flush':
        return await backend.flush()
      case 'truncate':
        await backend.truncate(operation.length)
        check(node.state.length === operation.length, `length ${node.state.length}, not ${operation.length}`)
        this.#resize(operation.length)
        return
      case 'parallel':
        return await this.#parallel(operation.seed, operation.slots)
      default:
        return await this.#ranged(operation)
    }
  }

  async #ranged(operation: Extract<RandomOperation, { at: number }>): Promise<void> {
    const { backend } = this.#disk
    const offset = operation.at % this.#content.byteLength
    const bytes = Math.min(operation.bytes, this.#content.byteLength - offset)
    switch (operation.kind) {
      case 'read':
        return checkSame(
          await readBack(this.#disk, offset, bytes),
          this.#content.subarray(offset, offset + bytes),
          `read at ${offset}`,
        )
      case 'discard':
        await backend.discard(offset, bytes)
        return await this.#adopt(offset, bytes)
      case 'write': {
        const data = pattern(bytes, operation.seed)
        await backend.write(offset, data, { flags: operation.fua ? BDRV_REQ_FUA : 0 })
        this.#content.set(data, offset)
        return
      }
      case 'zero':
        await backend.writeZeroes(offset, bytes, { flags: operation.unmap ? BDRV_REQ_MAY_UNMAP : 0 })
        this.#content.fill(0, offset, offset + bytes)
    }
  }

  /** Writes to neighbouring slots at once, with reads in between of slots nobody writes. */
  async #parallel(seed: number, slots: number): Promise<void> {
    const slot = Math.floor(this.#content.byteLength / slots)
    const requests: Promise<void>[] = []
    for (let index = 0; index < slots; index++) {
      const offset = index * slot
      if (index % 3 === 2) {
        const expected = this.#content.slice(offset, offset + slot)
        requests.push(readBack(this.#disk, offset, slot).then((read) => checkSame(read, expected, `slot ${index}`)))
        continue
      }
      const data = pattern(slot, seed + index)
      this.#content.set(data, offset)
      requests.push(this.#disk.backend.write(offset, data))
    }
    for (const settled of await Promise.allSettled(requests)) if (settled.status === 'rejected') throw settled.reason
  }

  /** After a discard every byte is what it was or zero; which of them, the driver decides. */
  async #adopt(offset: number, bytes: number): Promise<void> {
    const read = await readBack(this.#disk, offset, bytes)
    const old = this.#content.subarray(offset, offset + bytes)
    checkOldOrZero(read, old, `the discard at ${offset}`)
    this.#content.set(read, offset)
  }

  #resize(length: number): void {
    const content = new Uint8Array(length)
    content.set(this.#content.subarray(0, Math.min(length, this.#content.byteLength)))
    this.#content = content
  }
}
