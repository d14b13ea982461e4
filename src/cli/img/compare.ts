// compare: whether two images show the same disk. Exit codes: 0 identical, 1 different, 2 an image cannot be opened,
// 3 its status cannot be told, 4 it cannot be read.

import { BDRV_SECTOR_SIZE } from '../../common/limits.js'
import { MiB, type Offset } from '../../common/units.js'
import { newCommand, parseCommandLine, repeatedOption } from '../command-line.js'
import { errnoText } from '../error-text.js'
import { type Extent, extentAt, readDisk, virtualSize } from '../image-data.js'
import {
  cacheMode,
  checkObjects,
  forceShareOption,
  formatOption,
  type ImageOptionValues,
  imageOptsOption,
} from '../image-options.js'
import { openImage } from '../open-image.js'
import { Progress } from '../progress.js'
import { firstDifference, firstNonZero } from '../sectors.js'
import { type OpenImage, withSession } from '../session.js'
import { printable, type Tool, ToolError, usageError } from '../tool.js'

const BUFFER_SIZE = 2 * MiB

interface Values extends ImageOptionValues {
  secondFormat?: string
  cache: string
  progress?: boolean
  quiet?: boolean
  strict?: boolean
}

/** Runs `compare`. */
export async function compare(tool: Tool, args: readonly string[]): Promise<number> {
  const command = newCommand('compare')
    .addOption(formatOption())
    .option('-F, --second-format <fmt>')
    .option('-T, --cache <mode>', '', 'writeback')
    .option('-p, --progress')
    .option('-q, --quiet')
    .option('-s, --strict')
    .addOption(forceShareOption())
    .addOption(imageOptsOption())
    .addOption(repeatedOption('--object <def>'))
  const { options, operands } = parseCommandLine<Values>(tool, command, args)
  const [firstName, secondName] = operands
  if (firstName === undefined || secondName === undefined || operands.length > 2) {
    throw usageError(tool.name, 'Expecting two image file names')
  }
  const secrets = checkObjects(options.object)
  const quiet = options.quiet === true
  const progress = new Progress(tool, options.progress === true && !quiet, 2)
  const say = (text: string) => {
    if (!quiet) tool.out(`${text}\n`)
  }
  progress.report(0)
  try {
    return await withSession(tool, async (session) => {
      session.defineSecrets(secrets)
      const { imageOpts, forceShare, format, secondFormat } = options
      if (imageOpts === true && (format !== undefined || secondFormat !== undefined)) {
        throw new ToolError('--image-opts and --format are mutually exclusive', 2)
      }
      const cache = cacheMode(options.cache, `Invalid source cache option: ${options.cache}`, 2)
      const how = { imageOpts, forceShare, cache, exitCode: 2 }
      const first = await openImage(session, { ...how, name: firstName, format })
      const second = await openImage(session, { ...how, name: secondName, format: secondFormat })
      tool.expectWork?.(virtualSize(first))
      return compareImages({ first, second, progress, say, strict: options.strict === true })
    })
  } finally {
    progress.end()
  }
}

interface Comparison {
  first: OpenImage
  second: OpenImage
  strict: boolean
  progress: Progress
  say(text: string): void
}

async function compareImages(task: Comparison): Promise<number> {
  const { first, second, strict, say, progress } = task
  const sizes = [virtualSize(first), virtualSize(second)] as const
  const [common, total] = [Math.min(...sizes), Math.max(...sizes)]
  if (strict && common !== total) {
    say('Strict mode: Image size mismatch!')
    return 1
  }
  const difference = await compareCommon(task, common, total)
  if (difference !== undefined) {
    say(difference)
    return 1
  }
  if (common !== total) {
    say('Warning: Image size mismatch!')
    const longer = sizes[0] > sizes[1] ? first : second
    const at = await firstNonZeroOf(longer, common, total, (done) => progress.report((done / total) * 100))
    if (at !== undefined) {
      say(`Content mismatch at offset ${at}!`)
      return 1
    }
  }
  say('Images are identical.')
  return 0
}

/** Compares what both images have; says what differs. */
async function compareCommon(task: Comparison, common: Offset, total: Offset): Promise<string | undefined> {
  const { first, second, strict, progress } = task
  for (let at = 0; at < common; ) {
    const one = await statusOf(first, at, common - at)
    const two = await statusOf(second, at, common - at)
    if (strict && !sameStatus(one, two, common - at)) {
      return `Strict mode: Offset ${at} block status mismatch!`
    }
    const bytes = Math.min(one.bytes, two.bytes)
    const difference = await compareExtent(task, one, two, at, bytes)
    if (difference !== undefined) return `Content mismatch at offset ${difference}!`
    at += bytes
    progress.report((at / total) * 100)
  }
  return undefined
}

/** Strictly the same: allocated alike, and both or neither reach the end (`left` bytes away). */
function sameStatus(one: Extent, two: Extent, left: number): boolean {
  const same = one.data === two.data && one.zero === two.zero && one.present === two.present
  return same && (one.bytes === left) === (two.bytes === left)
}

/** The first sector in which a range differs, given the status of both sides. */
async function compareExtent(
  task: Comparison,
  one: Extent,
  two: Extent,
  at: Offset,
  bytes: number,
): Promise<Offset | undefined> {
  const dataOne = isData(one)
  const dataTwo = isData(two)
  if (!dataOne && !dataTwo) return undefined
  if (!dataOne || !dataTwo) return firstNonZeroOf(dataOne ? task.first : task.second, at, at + bytes)
  const left = new Uint8Array(Math.min(bytes, BUFFER_SIZE))
  const right = new Uint8Array(left.byteLength)
  for (let done = 0; done < bytes; done += left.byteLength) {
    const length = Math.min(left.byteLength, bytes - done)
    const [a, b] = [left.subarray(0, length), right.subarray(0, length)]
    await readOf(task.first, at + done, a)
    await readOf(task.second, at + done, b)
    const found = firstDifference(a, b)
    if (found !== undefined) return sectorOf(at, at + done + found)
  }
  return undefined
}

/** The first sector of a range that is not all zero. */
async function firstNonZeroOf(
  image: OpenImage,
  start: Offset,
  end: Offset,
  report: (done: Offset) => void = () => {},
): Promise<Offset | undefined> {
  const buffer = new Uint8Array(Math.min(end - start, BUFFER_SIZE))
  for (let at = start; at < end; ) {
    const extent = await statusOf(image, at, end - at)
    const extentEnd = at + extent.bytes
    for (; isData(extent) && at < extentEnd; at += buffer.byteLength) {
      const piece = buffer.subarray(0, Math.min(buffer.byteLength, extentEnd - at))
      await readOf(image, at, piece)
      const found = firstNonZero(piece)
      if (found !== undefined) return sectorOf(start, at + found)
    }
    at = extentEnd
    report(at)
  }
  return undefined
}

function isData(extent: Extent): boolean {
  return extent.data && !extent.zero
}

/** Where the sector that holds byte `at` begins, counted from the start of the range. */
function sectorOf(start: Offset, at: Offset): Offset {
  return at - ((at - start) % BDRV_SECTOR_SIZE)
}

async function statusOf(image: OpenImage, at: Offset, bytes: number): Promise<Extent> {
  try {
    return await extentAt(image, at, bytes)
  } catch {
    throw new ToolError(`Sector allocation test failed for ${printable(image.name)}`, 3)
  }
}

async function readOf(image: OpenImage, at: Offset, into: Uint8Array): Promise<void> {
  try {
    await readDisk(image, at, into)
  } catch (thrown) {
    throw new ToolError(`Error while reading offset ${at} of ${printable(image.name)}: ${errnoText(thrown)}`, 4)
  }
}
