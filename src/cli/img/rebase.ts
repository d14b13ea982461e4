// rebase: gives an image another backing file. Unless told that both files hold the same, it copies what differs into the
// image, which goes on to show the same disk.

import { toBlockError } from '../../common/error.js'
import { fullBackingFilename } from '../../common/filename.js'
import { BDRV_O_NO_BACKING, type CacheMode } from '../../common/open-flags.js'
import { findBackingImage } from '../../global-state/backing-chain.js'
import { changeBackingFile } from '../../global-state/image.js'
import { exactFilename } from '../../global-state/node-filename.js'
import type { NodeState } from '../../global-state/node-state.js'
import { rebaseImage } from '../../jobs/rebase-image.js'
import { canonicalPath } from '../canonical-path.js'
import { newCommand, parseCommandLine, repeatedOption } from '../command-line.js'
import { registerDrivers } from '../drivers.js'
import { errnoText, failed, failure } from '../error-text.js'
import { virtualSize } from '../image-data.js'
import {
  cacheMode,
  checkObjects,
  forceShareOption,
  formatOption,
  type ImageOptionValues,
  imageOptsOption,
  refuseFormatWithImageOpts,
} from '../image-options.js'
import { openImage } from '../open-image.js'
import { Progress } from '../progress.js'
import { type OpenImage, type Session, withSession } from '../session.js'
import { printable, type Tool, ToolError, usageError } from '../tool.js'

interface Values extends ImageOptionValues {
  backing?: string
  backingFormat?: string
  cache: string
  sourceCache: string
  progress?: boolean
  quiet?: boolean
  unsafe?: boolean
}

/** Runs `rebase`. */
export async function rebase(tool: Tool, args: readonly string[]): Promise<number> {
  const command = newCommand('rebase')
    .addOption(formatOption())
    .option('-F, --backing-format <fmt>')
    .option('-b, --backing <file>')
    .option('-u, --unsafe')
    .option('-p, --progress')
    .option('-q, --quiet')
    .option('-t, --cache <mode>', '', 'writeback')
    .option('-T, --source-cache <mode>', '', 'writeback')
    .addOption(forceShareOption())
    .addOption(imageOptsOption())
    .addOption(repeatedOption('--object <def>'))
  const { options, operands } = parseCommandLine<Values>(tool, command, args)
  const [name] = operands
  if (name === undefined || operands.length > 1) throw usageError(tool.name, 'Expecting one image file name')
  if (options.unsafe !== true && options.backing === undefined) {
    throw usageError(tool.name, 'Must specify backing file (-b) or use unsafe mode (-u)')
  }
  const secrets = checkObjects(options.object)
  refuseFormatWithImageOpts(options.format, options.imageOpts)
  const progress = new Progress(tool, options.progress === true && options.quiet !== true, 1)
  progress.report(0)
  try {
    await withSession(tool, (session) => {
      session.defineSecrets(secrets)
      return rebaseNamed(session, name, options, progress)
    })
    progress.report(100)
    return 0
  } finally {
    progress.end()
  }
}

async function rebaseNamed(session: Session, name: string, options: Values, progress: Progress): Promise<void> {
  const { graph } = session
  const { format, imageOpts, backingFormat, unsafe = false } = options
  const cache = cacheMode(options.cache, `Invalid cache option: ${options.cache}`)
  const sourceCache = cacheMode(options.sourceCache, `Invalid source cache option: ${options.sourceCache}`)
  const flags = unsafe ? BDRV_O_NO_BACKING : 0
  const image = await openImage(session, { name, format, imageOpts, writable: true, cache, flags })
  await registerDrivers(graph, undefined)
  if (backingFormat !== undefined && graph.registry.find(backingFormat) === undefined) {
    throw new ToolError(`Invalid format name: '${printable(backingFormat)}'`)
  }
  const filename = options.backing === undefined || options.backing === '' ? undefined : options.backing
  const node = unsafe || filename === undefined ? undefined : await newBacking(session, image, options, sourceCache)
  if (filename !== undefined && backingFormat === undefined) {
    throw new ToolError(
      `Could not change the backing file to '${printable(filename)}': backing format must be specified`,
    )
  }
  const stored = filename === undefined ? undefined : backingFormat
  if (!unsafe) session.tool.expectWork?.(virtualSize(image))
  try {
    await graph.mainLoop(
      (main) =>
        unsafe
          ? changeBackingFile(main, image.node, filename, stored)
          : rebaseImage(
              main,
              image.node,
              { node, filename, format: stored },
              { progress: (done, total) => progress.report(total === 0 ? 100 : (done / total) * 100) },
            ),
      `rebasing ${name}`,
    )
  } catch (thrown) {
    throw changeFailed(filename, thrown)
  }
}

/** The new backing file: the one in the chain where it is there already, else opened for this. */
async function newBacking(
  session: Session,
  image: OpenImage,
  { backing = '', backingFormat, forceShare }: Values,
  cache: CacheMode,
): Promise<NodeState> {
  const found = findBackingImage(image.node, backing, canonicalPath)
  if (found !== undefined) return found
  let name: string | undefined
  try {
    name = fullBackingFilename(exactFilename(image.node) ?? 'json:', backing)
  } catch (thrown) {
    throw failed('Could not resolve backing filename', thrown)
  }
  const opened = await openImage(session, {
    name: name ?? backing,
    format: backingFormat,
    forceShare,
    cache,
    failure: `Could not open new backing file '${printable(backing)}'`,
  })
  return opened.node
}

function changeFailed(filename: string | undefined, thrown: unknown): ToolError {
  const { code, op } = toBlockError(thrown)
  // Otherwise copying failed, or was not allowed to begin.
  if (op !== 'changeBackingFile' && code !== 'ENOTSUP') return failure(thrown)
  const why = code === 'ENOSPC' ? 'No space left in the file header' : errnoText(thrown)
  return new ToolError(`Could not change the backing file to '${printable(filename ?? '')}': ${why}`)
}
