// amend: changes what was chosen when an image was made.

import { amendImage } from '../../global-state/amend-image.js'
import { newCommand, parseCommandLine, repeatedOption } from '../command-line.js'
import { asksForOptions, creationOptions, joinOptionLists, printOptions } from '../creation-options.js'
import { registerDrivers } from '../drivers.js'
import { failure } from '../error-text.js'
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
import { type Session, withSession } from '../session.js'
import { printable, type Tool, ToolError, usageError } from '../tool.js'

interface Values extends ImageOptionValues {
  cache: string
  force?: boolean
  options?: string[]
  progress?: boolean
  quiet?: boolean
}

/** Runs `amend`. */
export async function amend(tool: Tool, args: readonly string[]): Promise<number> {
  const command = newCommand('amend')
    .addOption(formatOption())
    .addOption(imageOptsOption())
    .addOption(repeatedOption('--object <def>'))
    .option('-p, --progress')
    .option('-q, --quiet')
    .option('-t, --cache <mode>', '', 'writeback')
    .option('--force')
    .addOption(repeatedOption('-o, --options <list>'))
  const { options, operands } = parseCommandLine<Values>(tool, command, args)
  const list = joinOptionLists(options.options)
  if (list === undefined) throw usageError(tool.name, 'Must specify options (-o)')
  const progress = new Progress(tool, options.progress === true && options.quiet !== true, 1)
  progress.report(0)
  try {
    await withSession(tool, (session) => amendNamed(session, operands, options, list, progress))
    return 0
  } finally {
    progress.end()
  }
}

async function amendNamed(
  session: Session,
  operands: readonly string[],
  options: Values,
  list: string,
  progress: Progress,
): Promise<void> {
  const { format, imageOpts, force = false } = options
  session.defineSecrets(checkObjects(options.object))
  if (format !== undefined && asksForOptions(list)) {
    await printAmendOptions(session, format)
    return
  }
  const [name] = operands
  if (name === undefined || operands.length > 1) throw new ToolError('Expecting one image file name')
  refuseFormatWithImageOpts(format, imageOpts)
  const cache = cacheMode(options.cache, `Invalid cache option: ${options.cache}`)
  const image = await openImage(session, { name, format, imageOpts, writable: true, resizable: true, cache })
  if (asksForOptions(list)) {
    await printAmendOptions(session, image.node.driver.name)
    return
  }
  const settings = {
    force,
    progress: (done: number, total: number) => progress.report(total === 0 ? 0 : (done / total) * 100),
  }
  try {
    await session.graph.mainLoop(
      (main) => amendImage(main, image.node, creationOptions(list), settings),
      `amending ${name}`,
    )
  } catch (thrown) {
    const { message, exitCode, hints } = failure(thrown)
    throw new ToolError(
      message,
      exitCode,
      hints.map((hint) => hint.replace("use 'rebase'", `use '${session.tool.name} rebase'`)),
    )
  } finally {
    // Whatever came of it, it is over.
    progress.report(100)
  }
}

async function printAmendOptions({ tool, graph }: Session, format: string): Promise<void> {
  await registerDrivers(graph, undefined)
  const driver = graph.registry.find(format)
  if (driver === undefined) throw new ToolError(`Unknown file format '${printable(format)}'`)
  if (driver.amendOptions === undefined) {
    throw new ToolError(`Format driver '${driver.name}' does not support option amendment`)
  }
  tool.out(`Amend options for '${format}':\n`)
  printOptions(tool, driver.amendOptions)
}
