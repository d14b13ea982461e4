// commit: writes what an image holds of its own into a layer below it.

import { findBackingImage } from '../../global-state/backing-chain.js'
import type { NodeState } from '../../global-state/node-state.js'
import { backingChainNext, skipFilters } from '../../io/block-node.js'
import { commitImage } from '../../jobs/commit-image.js'
import { canonicalPath } from '../canonical-path.js'
import { newCommand, parseCommandLine, repeatedOption } from '../command-line.js'
import { failure } from '../error-text.js'
import { virtualSize } from '../image-data.js'
import {
  cacheMode,
  checkObjects,
  formatOption,
  type ImageOptionValues,
  imageOptsOption,
  refuseFormatWithImageOpts,
} from '../image-options.js'
import { openImage } from '../open-image.js'
import { Progress } from '../progress.js'
import { RateLimit } from '../rate-limit.js'
import { type OpenImage, type Session, withSession } from '../session.js'
import { sizeArgument } from '../sizes.js'
import { printable, type Tool, ToolError, usageError } from '../tool.js'

interface Values extends ImageOptionValues {
  cache: string
  base?: string
  rateLimit: number
  drop?: boolean
  progress?: boolean
  quiet?: boolean
}

/** Runs `commit`. */
export async function commit(tool: Tool, args: readonly string[]): Promise<number> {
  const command = newCommand('commit')
    .addOption(formatOption())
    .option('-t, --cache <mode>', '', 'writeback')
    .option('-b, --base <file>')
    .option('-r, --rate-limit <rate>', '', (text) => sizeArgument('rate limit', text), 0)
    .option('-d, --drop')
    .option('-p, --progress')
    .option('-q, --quiet')
    .addOption(imageOptsOption())
    .addOption(repeatedOption('--object <def>'))
  const { options, operands } = parseCommandLine<Values>(tool, command, args)
  const [name] = operands
  if (name === undefined || operands.length > 1) throw usageError(tool.name, 'Expecting one image file name')
  const secrets = checkObjects(options.object)
  refuseFormatWithImageOpts(options.format, options.imageOpts)
  const cache = cacheMode(options.cache, `Invalid cache option: ${options.cache}`)
  await withSession(tool, async (session) => {
    session.defineSecrets(secrets)
    const { format, imageOpts } = options
    const image = await openImage(session, { name, format, imageOpts, writable: true, cache })
    const base = findBase(image, options.base)
    tool.expectWork?.(virtualSize(image))
    await commitTo(session, image, base, options)
  })
  if (options.quiet !== true) tool.out('Image committed.\n')
  return 0
}

function findBase(image: OpenImage, name: string | undefined): NodeState {
  const top = image.node
  const found = name === undefined ? backingChainNext(skipFilters(top)) : findBackingImage(top, name, canonicalPath)
  if (found !== undefined) return found as NodeState
  if (name === undefined) throw new ToolError('Image does not have a backing file')
  const where = printable(image.name)
  throw new ToolError(`Did not find '${printable(name)}' in the backing chain of '${where}'`)
}

async function commitTo(session: Session, image: OpenImage, base: NodeState, options: Values): Promise<void> {
  const { graph, tool } = session
  const progress = new Progress(tool, options.progress === true && options.quiet !== true, 1)
  const rate = new RateLimit(options.rateLimit, graph.environment.clock)
  progress.report(0)
  try {
    await graph.mainLoop(
      (main) =>
        commitImage(main, image.node, {
          base,
          // Layers between show another disk from now on: the image has to go on without the base.
          empty: options.drop !== true && options.base === undefined,
          admit: (bytes) => rate.admit(bytes),
          progress: (done, total) => progress.report(total === 0 ? 100 : (done / total) * 100),
        }),
      `committing ${image.name}`,
    )
  } catch (thrown) {
    throw failure(thrown)
  } finally {
    progress.end()
  }
}
