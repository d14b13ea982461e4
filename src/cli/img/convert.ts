// convert: copies one or more images, one behind the other, into a new or an existing image.

import type { Command } from 'commander'
import { alignUp } from '../../common/units.js'
import type { SnapshotName } from '../../global-state/snapshot.js'
import { newCommand, parseCommandLine, repeatedOption } from '../command-line.js'
import { asksForOptions, creationOptions, joinOptionLists, printCreationOptions } from '../creation-options.js'
import { registerDrivers } from '../drivers.js'
import { virtualSize } from '../image-data.js'
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
import { RateLimit } from '../rate-limit.js'
import { type OpenImage, type Session, withSession } from '../session.js'
import { countArgument, sizeArgument } from '../sizes.js'
import { type Tool, ToolError } from '../tool.js'
import { checkSourceBitmaps, checkTargetBitmaps, copyBitmaps } from './convert-bitmaps.js'
import { showSnapshot, snapshotArgument } from './convert-snapshot.js'
import { createTarget, keyOptions } from './convert-target.js'
import {
  backingLength,
  compressedCluster,
  refuseCompression,
  refuseUnknownBacking,
  statedBacking,
} from './convert-target-checks.js'
import { type CopyTask, copyDisks } from './copy-disks.js'

const SPARSE_MAX = 16 * 1024 * 1024
const SPARSE_DEFAULT = 4096

/** What the command line of `convert` says. */
export interface ConvertValues extends ImageOptionValues {
  outputFormat?: string
  backing?: string
  backingFormat?: string
  options?: string[]
  sparse?: number
  cache: string
  sourceCache: string
  snapshot?: SnapshotName
  rateLimit: number
  coroutines: number
  outOfOrder?: boolean
  compressed?: boolean
  copyOffload?: boolean
  skipCreate?: boolean
  targetIsZero?: boolean
  targetImageOpts?: boolean
  salvage?: boolean
  bitmaps?: boolean
  skipBrokenBitmaps?: boolean
  progress?: boolean
  quiet?: boolean
}

/** Runs `convert`. */
export async function convert(tool: Tool, args: readonly string[]): Promise<number> {
  const { options, operands } = parseCommandLine<ConvertValues>(tool, convertCommand(), args)
  const secrets = checkObjects(options.object)
  const list = joinOptionLists(options.options)
  refuseContradictions(options, list)
  if (asksForOptions(list)) {
    const target = operands.length > 1 ? operands.at(-1) : undefined
    await withSession(tool, ({ graph }) => printCreationOptions(tool, graph, options.outputFormat ?? 'raw', target))
    return 0
  }
  const target = operands.at(-1)
  if (target === undefined || operands.length < 2) throw new ToolError('Must specify image file name')
  const progress = new Progress(tool, options.progress === true && options.quiet !== true, 1)
  progress.report(0)
  try {
    await withSession(tool, (session) => {
      session.defineSecrets(secrets)
      return convertImages(session, { options, list, progress, names: operands.slice(0, -1), target })
    })
    return 0
  } finally {
    progress.end()
  }
}

function convertCommand(): Command {
  return newCommand('convert')
    .addOption(formatOption())
    .option('-O, --output-format <fmt>')
    .option('-B, --backing <file>')
    .option('-F, --backing-format <fmt>')
    .addOption(repeatedOption('-o, --options <list>'))
    .option('-l, --snapshot <param>', '', snapshotArgument)
    .option('-S, --sparse <size>', '', sparseArgument)
    .option('-t, --cache <mode>', '', 'unsafe')
    .option('-T, --source-cache <mode>', '', 'writeback')
    .option('-r, --rate-limit <rate>', '', (text) => sizeArgument('rate limit', text), 0)
    .option('-m, --coroutines <count>', '', coroutinesArgument, 8)
    .option('-W, --out-of-order')
    .option('-c, --compressed')
    .option('-C, --copy-offload')
    .option('-n, --skip-create')
    .option('-p, --progress')
    .option('-q, --quiet')
    .option('--target-is-zero')
    .option('--target-image-opts')
    .option('--salvage')
    .option('--bitmaps')
    .option('--skip-broken-bitmaps')
    .addOption(forceShareOption())
    .addOption(imageOptsOption())
    .addOption(repeatedOption('--object <def>'))
}

function sparseArgument(text: string): number {
  const size = sizeArgument('buffer size for sparse output', text)
  if (size % 512 === 0 && size <= SPARSE_MAX) return size
  throw new ToolError(
    `Invalid buffer size for sparse output specified. Valid sizes are multiples of 512 up to ${SPARSE_MAX}. ` +
      'Select 0 to disable sparse detection (fully allocates output).',
  )
}

function coroutinesArgument(text: string): number {
  const count = countArgument(text, 1, 16)
  if (count !== undefined) return count
  throw new ToolError('Invalid number of coroutines. Allowed number of coroutines is between 1 and 16')
}

function refuseContradictions(options: ConvertValues, list: string | undefined): void {
  const refuse = (fault: boolean | undefined, message: string) => {
    if (fault === true) throw new ToolError(message)
  }
  const { imageOpts, targetImageOpts, skipCreate, copyOffload, compressed, sparse, salvage } = options
  const exclusive = '--image-opts and --format are mutually exclusive'
  refuse(imageOpts && options.format !== undefined, exclusive)
  refuse(targetImageOpts && options.outputFormat !== undefined, exclusive)
  refuse(targetImageOpts && skipCreate !== true, '--target-image-opts requires use of -n flag')
  refuse(options.targetIsZero && skipCreate !== true, '--target-is-zero requires use of -n flag')
  refuse(skipCreate && list !== undefined, '-o has no effect when skipping image creation')
  refuse(copyOffload && compressed, 'Cannot enable copy offloading when -c is used')
  refuse(copyOffload && sparse !== undefined, 'Cannot enable copy offloading when -S is used')
  refuse(copyOffload && salvage, 'Cannot use copy offloading in salvaging mode')
  refuse(options.skipBrokenBitmaps && options.bitmaps !== true, 'Use of --skip-broken-bitmaps requires --bitmaps')
}

interface ConvertTask {
  options: ConvertValues
  list: string | undefined
  progress: Progress
  names: string[]
  target: string
}

async function convertImages(session: Session, task: ConvertTask): Promise<void> {
  const { options, progress, names, target } = task
  const { imageOpts, forceShare, format } = options
  const sourceCache = cacheMode(options.sourceCache, `Invalid source cache option: ${options.sourceCache}`)
  const sources: OpenImage[] = []
  for (const name of names) {
    sources.push(await openImage(session, { name, format, imageOpts, forceShare, cache: sourceCache }))
  }
  if (options.snapshot !== undefined) await showSnapshot(session, sources, options.snapshot)
  if (options.bitmaps === true) await checkSourceBitmaps(sources, options.skipBrokenBitmaps === true)
  const created = creationOptions(task.list)
  const backing = statedBacking(options.backing, created)
  if (backing !== undefined && sources.length > 1) {
    throw new ToolError('Having a backing file for the target makes no sense when concatenating multiple input images')
  }
  if (backing !== undefined && options.targetIsZero === true) {
    throw new ToolError('Cannot use --target-is-zero when the destination image has a backing file')
  }
  const size = sources.reduce((sum, source) => sum + virtualSize(source), 0)
  const cache = cacheMode(options.cache, `Invalid cache option: ${options.cache}`)
  const creating = options.skipCreate !== true
  if (creating) {
    const outputFormat = options.outputFormat ?? 'raw'
    await registerDrivers(session.graph, [outputFormat])
    const driver = session.graph.registry.find(outputFormat)
    if (backing !== undefined) refuseUnknownBacking(driver, options.backingFormat, created)
    if (options.compressed === true) refuseCompression(driver, created)
    await createTarget(session, sources, {
      filename: target,
      format: outputFormat,
      size,
      options: created,
      backingFile: options.backing,
      backingFormat: options.backingFormat,
    })
  }
  const output = await openImage(session, {
    name: target,
    format: options.targetImageOpts === true ? undefined : (options.outputFormat ?? 'raw'),
    imageOpts: options.targetImageOpts,
    options: creating ? keyOptions(created) : {},
    writable: true,
    cache,
  })
  const cluster = options.compressed === true ? await compressedCluster(output) : undefined
  if (virtualSize(output) < size) throw new ToolError('output file is smaller than input file')
  if (options.bitmaps === true) await checkTargetBitmaps(output)
  session.tool.expectWork?.(size)
  const backingBytes = backing === undefined ? undefined : backingLength(output)
  await copyDisks({ ...(await copyTask(task, session, sources, output)), compressedCluster: cluster, backingBytes })
  if (options.bitmaps === true && sources[0] !== undefined) await copyBitmaps(session, sources[0], output)
  await output.backend.flush()
  progress.report(100)
}

async function copyTask(
  { options, progress }: ConvertTask,
  session: Session,
  sources: readonly OpenImage[],
  target: OpenImage,
): Promise<Omit<CopyTask, 'backingBytes' | 'compressedCluster'>> {
  const { hasZeroInit } = await import('../../global-state/image.js')
  const isNew = options.skipCreate !== true
  return {
    sources,
    target,
    tool: session.tool,
    rate: new RateLimit(options.rateLimit, session.graph.environment.clock),
    progress,
    inFlight: options.coroutines,
    inOrder: options.outOfOrder !== true,
    sparse: options.sparse ?? (options.copyOffload === true ? 0 : SPARSE_DEFAULT),
    alignment: alignUp(Math.max(SPARSE_DEFAULT, target.node.state.limits.requestAlignment), 512),
    targetIsZero: options.targetIsZero === true || (isNew && hasZeroInit(target.node)),
    offload: options.copyOffload === true,
    salvage: options.salvage === true,
  }
}
