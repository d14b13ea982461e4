// check: looks for damage in an image, and repairs it where asked to. Exit codes: 0 nothing is wrong (any more), 1 the check
// itself failed, 2 damage, 3 leaks only, 63 the format has no check.

import { BDRV_FIX_ERRORS, BDRV_FIX_LEAKS, type BdrvCheckResult } from '../../common/block-info.js'
import { BlockError } from '../../common/error.js'
import { BDRV_O_CHECK } from '../../common/open-flags.js'
import { checkImage } from '../../global-state/check-image.js'
import { errnoText } from '../error-text.js'
import { cacheMode } from '../image-options.js'
import { type ImageQueryValues, newImageQuery, readImageQuery } from '../image-query.js'
import { prettyJson } from '../json-text.js'
import { openImage } from '../open-image.js'
import { type OpenImage, type Session, withSession } from '../session.js'
import { printable, type Tool, ToolError, usageError } from '../tool.js'

interface Values extends ImageQueryValues {
  repair?: number
  cache: string
  quiet?: boolean
}

const EXIT_FAILED = 1
const EXIT_CORRUPT = 2
const EXIT_LEAKS = 3
const EXIT_UNSUPPORTED = 63

/** Runs `check`. */
export async function check(tool: Tool, args: readonly string[]): Promise<number> {
  const command = newImageQuery('check')
    .option('-r, --repair <what>', '', (word) => repairFlags(tool, word))
    .option('-T, --cache <mode>', '', 'writeback')
    .option('-q, --quiet')
  const { options, name, secrets } = readImageQuery<Values>(tool, command, args)
  const cache = cacheMode(options.cache, `Invalid source cache option: ${options.cache}`)
  const fix = options.repair ?? 0
  return withSession(tool, async (session) => {
    session.defineSecrets(secrets)
    const { format, imageOpts, forceShare } = options
    const image = await openImage(session, {
      name,
      format,
      imageOpts,
      forceShare,
      cache,
      writable: fix !== 0,
      resizable: fix !== 0,
      flags: BDRV_O_CHECK,
    })
    return checkAndPrint(session, image, fix, options)
  })
}

function repairFlags(tool: Tool, word: string): number {
  if (word === 'leaks') return BDRV_FIX_LEAKS
  if (word === 'all') return BDRV_FIX_LEAKS | BDRV_FIX_ERRORS
  throw usageError(tool.name, `Unknown option value for -r (expecting 'leaks' or 'all'): ${word}`)
}

async function checkAndPrint(session: Session, image: OpenImage, fix: number, options: Values): Promise<number> {
  const { tool } = session
  const say = (text: string) => {
    if (options.quiet !== true) tool.out(text)
  }
  let result = await runCheck(session, image, fix)
  if (result === undefined) throw new ToolError('This image format does not support checks', EXIT_UNSUPPORTED)
  const { leaksFixed, corruptionsFixed } = result
  if (leaksFixed > 0 || corruptionsFixed > 0) {
    if (options.output === 'human') say(repairedText(result))
    // What is left is asked anew: one repair may have uncovered or settled other findings.
    const again = await runCheck(session, image, 0)
    if (again !== undefined) result = { ...again, leaksFixed, corruptionsFixed }
  }
  if (options.output === 'human') say(resultText(result))
  else say(`${prettyJson(resultJson(image, result))}\n`)
  if (result.checkErrors > 0) throw new ToolError('Check failed', EXIT_FAILED)
  if (result.corruptions > 0) return EXIT_CORRUPT
  return result.leaks > 0 ? EXIT_LEAKS : 0
}

/** Undefined where the format has no check. */
async function runCheck({ tool, graph }: Session, image: OpenImage, fix: number): Promise<BdrvCheckResult | undefined> {
  const report = (line: string) => tool.err(`${printable(line)}\n`)
  try {
    return await graph.mainLoop((main) => checkImage(main, image.node, fix, report), `checking ${image.name}`)
  } catch (thrown) {
    if (thrown instanceof BlockError && thrown.code === 'ENOTSUP') return undefined
    throw new ToolError(`Check failed: ${errnoText(thrown)}`, EXIT_FAILED)
  }
}

function repairedText({ leaksFixed, corruptionsFixed }: BdrvCheckResult): string {
  return (
    'The following inconsistencies were found and repaired:\n\n' +
    `    ${leaksFixed} leaked clusters\n    ${corruptionsFixed} corruptions\n\n` +
    'Double checking the fixed image now...\n'
  )
}

/** The text for people. */
export function resultText(result: BdrvCheckResult): string {
  const { corruptions, leaks, checkErrors, imageEndOffset, fragmentation } = result
  const { allocatedClusters, totalClusters, fragmentedClusters, compressedClusters } = fragmentation
  let text = ''
  if (corruptions === 0 && leaks === 0 && checkErrors === 0) text += 'No errors were found on the image.\n'
  if (corruptions > 0) {
    text += `\n${corruptions} errors were found on the image.\n`
    text += 'Data may be corrupted, or further writes to the image may corrupt it.\n'
  }
  if (leaks > 0) {
    text += `\n${leaks} leaked clusters were found on the image.\n`
    text += 'This means waste of disk space, but no harm to data.\n'
  }
  if (checkErrors > 0) text += `\n${checkErrors} internal errors have occurred during the check.\n`
  if (totalClusters > 0 && allocatedClusters > 0) {
    text += `${allocatedClusters}/${totalClusters} = ${percent(allocatedClusters, totalClusters)} allocated, `
    text += `${percent(fragmentedClusters, allocatedClusters)} fragmented, `
    text += `${percent(compressedClusters, allocatedClusters)} compressed clusters\n`
  }
  return imageEndOffset > 0 ? `${text}Image end offset: ${imageEndOffset}\n` : text
}

/** The keys of management interfaces; numbers that are 0 are left out, but for that of errors. */
function resultJson(image: OpenImage, result: BdrvCheckResult): Record<string, unknown> {
  const { fragmentation } = result
  const numbers: Record<string, number> = {
    'image-end-offset': result.imageEndOffset,
    'total-clusters': fragmentation.totalClusters,
    corruptions: result.corruptions,
    'corruptions-fixed': result.corruptionsFixed,
    leaks: result.leaks,
    'leaks-fixed': result.leaksFixed,
    'allocated-clusters': fragmentation.allocatedClusters,
    'fragmented-clusters': fragmentation.fragmentedClusters,
    'compressed-clusters': fragmentation.compressedClusters,
  }
  const found = Object.entries(numbers).filter(([, value]) => value !== 0)
  return {
    ...Object.fromEntries(found),
    'check-errors': result.checkErrors,
    filename: image.name,
    format: image.node.driver.name,
  }
}

function percent(part: number, whole: number): string {
  return `${((part * 100) / whole).toFixed(2)}%`
}
