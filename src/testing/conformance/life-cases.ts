// Conformance: length changes, drained sections and the end of a node.

import { KiB } from '../../common/units.js'
import { drained } from '../../io/drained.js'
import { fails } from './data-cases.js'
import { readBack, type TestDisk, withDisk } from './open-disk.js'
import { checkStatus } from './status-cases.js'
import { check, checkSame, type DriverSupports, type FixtureFactory, pattern, type SuiteApi } from './suite.js'

const SIZE = 256 * KiB

/** Declares the cases. */
export function lifeCases(factory: FixtureFactory, supports: DriverSupports, { it }: SuiteApi): void {
  const disk = (body: (disk: TestDisk) => Promise<void>) => () => withDisk(factory, supports, SIZE, body)
  it(
    'begins a drained section when its reads are over, and holds later ones',
    disk((test) => drainCase(test, (offset) => readOne(test, offset))),
  )
  it('refuses requests after its backend is closed', () => afterCloseCase(factory, supports))
  if (!(supports.write ?? true)) return
  it(
    'begins a drained section when its writes are over, and holds later ones',
    disk((test) => drainCase(test, (offset) => test.backend.write(offset, pattern(4 * KiB, offset)))),
  )
  if ((supports.truncate ?? 'any') === 'none') {
    it('refuses to change its length', disk(noTruncateCase))
    return
  }
  const grows = supports.truncate === 'noise' ? 'grows' : 'grows and reads as zeroes there'
  it(
    grows,
    disk((test) => growCase(test, supports)),
  )
  it(
    'shrinks, and what was cut is gone when it grows again',
    disk((test) => shrinkCase(test, supports)),
  )
  it(
    'keeps a length that is no multiple of anything',
    disk((test) => oddLengthCase(test, supports)),
  )
  it('refuses a length beyond the cap', disk(hugeCase))
}

async function readOne(test: TestDisk, offset: number): Promise<void> {
  await readBack(test, offset, 4 * KiB)
}

async function drainCase(test: TestDisk, request: (offset: number) => Promise<void>): Promise<void> {
  const { node } = test
  let count = 0
  const settled = () => count
  const submit = (index: number) =>
    request(index * 4 * KiB).then(() => {
      count++
    })
  const first = Array.from({ length: 32 }, (_, index) => submit(index))
  const section = await drained(node)
  let held: Promise<void> | undefined
  try {
    check(node.state.inFlight === 0, 'requests in flight when the section began')
    // They are over; their promises settle without the section's end.
    for (const pending of first) await pending
    held = submit(40)
    for (let turn = 0; turn < 20; turn++) await undefined
    check(settled() === 32, 'a request ran inside the section')
    check(node.state.inFlight === 0, 'a request came in flight inside the section')
  } finally {
    section.end()
  }
  await held
  check(settled() === 33, 'the held request did not run after the section')
}

async function afterCloseCase(factory: FixtureFactory, supports: DriverSupports): Promise<void> {
  let kept: TestDisk | undefined
  await withDisk(factory, supports, SIZE, async (disk) => {
    kept = disk
    await readOne(disk, 0)
  })
  check(kept !== undefined, 'no disk')
  const { backend } = kept
  await fails('read after close', () => backend.read(0, new Uint8Array(512)))
}

async function noTruncateCase({ backend, node }: TestDisk): Promise<void> {
  await fails('truncate', () => backend.truncate(SIZE * 2))
  check(node.state.length === SIZE, 'the length changed nevertheless')
}

async function growCase(test: TestDisk, supports: DriverSupports): Promise<void> {
  const { backend, node } = test
  const data = pattern(SIZE, 1)
  await backend.write(0, data)
  await backend.truncate(SIZE * 2)
  check(node.state.length === SIZE * 2, `length ${node.state.length}`)
  const grown = await readBack(test, SIZE, SIZE)
  if (supports.truncate !== 'noise') checkSame(grown, new Uint8Array(SIZE), 'what was grown')
  const tail = pattern(512, 2)
  await backend.write(SIZE * 2 - 512, tail)
  checkSame(await readBack(test, SIZE * 2 - 512, 512), tail, 'the new end')
  await checkStatus(test)
}

async function shrinkCase(test: TestDisk, supports: DriverSupports): Promise<void> {
  const { backend, node } = test
  const data = pattern(SIZE, 3)
  await backend.write(0, data)
  const cut = 100 * KiB
  await backend.truncate(cut)
  check(node.state.length === cut, `length ${node.state.length}`)
  await fails('read of what was cut', () => backend.read(cut, new Uint8Array(512)))
  await backend.truncate(SIZE)
  const grown = await readBack(test, cut, SIZE - cut)
  if (supports.truncate !== 'noise') checkSame(grown, new Uint8Array(SIZE - cut), 'what was cut')
  if (supports.keepsData ?? true) checkSame(await readBack(test, 0, cut), data.slice(0, cut), 'what was kept')
  await checkStatus(test)
}

async function oddLengthCase(test: TestDisk, supports: DriverSupports): Promise<void> {
  const { backend, node } = test
  await backend.truncate(SIZE - 4096 + 512)
  const { length } = node.state
  const data = pattern(700, 5)
  await backend.write(length - 700, data)
  if (supports.keepsData ?? true) checkSame(await readBack(test, length - 700, 700), data, 'the end of the disk')
  await checkStatus(test)
}

async function hugeCase({ backend, node }: TestDisk): Promise<void> {
  await fails('truncate beyond 2^53', () => backend.truncate(2 ** 54))
  check(node.state.length === SIZE, 'the length changed nevertheless')
}
