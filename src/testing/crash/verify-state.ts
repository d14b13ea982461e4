// What every crash state has to pass: it opens read-write by the normal path, a check finds no corruption, the guest finds what the
// oracle allows, one more write does what it says and nothing else, a second check finds no corruption, and it closes.

import type { BdrvCheckResult } from '../../common/block-info.js'
import { BlockError } from '../../common/error.js'
import { BDRV_SECTOR_SIZE } from '../../common/limits.js'
import { alignDown } from '../../common/units.js'
import { checkImage } from '../../global-state/check-image.js'
import type { ChunkStore } from '../storage/memory-storage.js'
import { firstDifference } from './compare-bytes.js'
import { type CrashDisk, type CrashTarget, closeCrashDisk, openCrashDisk, readDisk } from './crash-target.js'
import { patternOf } from './crash-world.js'
import type { GuestView } from './guest-oracle.js'
import { findBitmaps } from './image-bitmaps.js'
import { type FoundSnapshot, readSnapshots } from './image-snapshots.js'
import type { RandomBelow } from './seeded-random.js'

/** Says what is wrong with what the guest finds; undefined where nothing is. */
export type ViewJudge = (view: GuestView) => string | undefined

/** Lines of a check that are shown. */
const MAX_CHECK_LINES = 4

/** What else is asked of a state. */
export interface VerifyOptions {
  /** Leaks count as well, but for those of a new image: this one was closed in peace. */
  noLeaks?: boolean
}

/** Looks at the image on `stores`, which it changes. What is wrong with it; undefined where nothing is. */
export async function verifyState(
  target: CrashTarget,
  stores: ReadonlyMap<string, ChunkStore>,
  judge: ViewJudge,
  random: RandomBelow,
  options: VerifyOptions = {},
): Promise<string | undefined> {
  const noLeaks = options.noLeaks === true
  const found = target.inspect?.(stores, noLeaks)
  if (found !== undefined) return `inspected: ${found}`
  let disk: CrashDisk
  try {
    disk = await openCrashDisk(target, stores)
  } catch (error) {
    return `it does not open: ${describeError(error)}`
  }
  let problem: string | undefined
  try {
    problem = await verifyOpen(target, disk, stores, judge, random, options)
  } catch (error) {
    problem = describeError(error)
  }
  try {
    await closeCrashDisk(disk)
  } catch (error) {
    problem ??= `it does not close: ${describeError(error)}`
  }
  if (problem !== undefined) return problem
  const left = target.inspect?.(stores, noLeaks)
  return left === undefined ? undefined : `inspected after close: ${left}`
}

async function verifyOpen(
  target: CrashTarget,
  disk: CrashDisk,
  stores: ReadonlyMap<string, ChunkStore>,
  judge: ViewJudge,
  random: RandomBelow,
  options: VerifyOptions,
): Promise<string | undefined> {
  const found = await checkProblem(target, disk, options)
  if (found !== undefined) return `check: ${found}`
  const content = await readDisk(disk)
  const snapshots = target.snapshots === true ? await readSnapshots(target, disk, stores) : undefined
  const bitmaps = target.bitmaps === true ? findBitmaps(disk) : undefined
  const fault = judge({ content, snapshots, bitmaps })
  if (fault !== undefined) return fault
  if (content.byteLength === 0) return undefined
  await writeOnce(target, disk, content, random)
  const later = await checkProblem(target, disk, options)
  if (later !== undefined) return `check after one more write: ${later}`
  const changed = changedSector(await readDisk(disk), content)
  if (changed !== undefined) return `one more write changed sector ${changed} as well, or not itself`
  return snapshots === undefined ? undefined : changedSnapshot(await readSnapshots(target, disk, stores), snapshots)
}

/** Writes across the border of two clusters, or as much of that as the disk has, and notes it in `content`. */
async function writeOnce(
  target: CrashTarget,
  disk: CrashDisk,
  content: Uint8Array,
  random: RandomBelow,
): Promise<void> {
  const offset = random(content.byteLength / BDRV_SECTOR_SIZE) * BDRV_SECTOR_SIZE
  const end = alignDown(offset, target.clusterBytes) + target.clusterBytes + BDRV_SECTOR_SIZE
  const data = patternOf(99_999, offset, Math.min(end, content.byteLength) - offset)
  content.set(data, offset)
  await disk.backend.write(offset, data)
  await disk.backend.flush()
}

async function checkProblem(
  target: CrashTarget,
  { graph, node }: CrashDisk,
  options: VerifyOptions,
): Promise<string | undefined> {
  if (node.io.check === undefined) return undefined
  const lines: string[] = []
  let ignored = 0
  const report = (line: string) => {
    if (target.harmless?.(line) === true) ignored++
    else lines.push(line)
  }
  const result = await graph.mainLoop((main) => checkImage(main, node, 0, report))
  const allowed = options.noLeaks === true ? (target.leaks ?? 0) : Number.POSITIVE_INFINITY
  const problem = problemOf({ ...result, corruptions: result.corruptions - ignored }, allowed)
  return problem === undefined ? undefined : [problem, ...lines.slice(0, MAX_CHECK_LINES)].join('; ')
}

function problemOf({ corruptions, checkErrors, leaks }: BdrvCheckResult, allowedLeaks: number): string | undefined {
  if (corruptions > 0) return `${corruptions} corruptions`
  if (checkErrors > 0) return `${checkErrors} errors`
  return leaks > allowedLeaks ? `${leaks} leaks` : undefined
}

function changedSnapshot(
  now: ReadonlyMap<string, FoundSnapshot>,
  before: ReadonlyMap<string, FoundSnapshot>,
): string | undefined {
  for (const [name, { content }] of before) {
    const sector = changedSector(now.get(name)?.content ?? new Uint8Array(0), content)
    if (sector !== undefined) return `one more write changed sector ${sector} of snapshot '${name}'`
  }
  return undefined
}

/** The first sector that differs. */
function changedSector(found: Uint8Array, wanted: Uint8Array): number | undefined {
  const at = firstDifference(found, wanted)
  return at === undefined ? undefined : Math.floor(at / BDRV_SECTOR_SIZE)
}

/** An error as one line; whatever is no BlockError is a fault of the driver. */
export function describeError(error: unknown): string {
  if (error instanceof BlockError) return `${error.code}: ${error.message}`
  return error instanceof Error ? `${error.stack ?? error.message}` : String(error)
}
