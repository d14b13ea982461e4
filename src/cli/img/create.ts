// create: makes an image file.

import type { BlockGraph } from '../../global-state/graph.js'
import {
  type CreateImageRequest,
  createPreparedImage,
  type PreparedImage,
  prepareImage,
} from '../../global-state/life/create-image.js'
import { newCommand, parseCommandLine, repeatedOption } from '../command-line.js'
import {
  asksForOptions,
  creationOptions,
  describeCreation,
  joinOptionLists,
  printCreationOptions,
} from '../creation-options.js'
import { registerDrivers } from '../drivers.js'
import { creationFailed, failed } from '../error-text.js'
import { checkObjects, formatOption } from '../image-options.js'
import { withSession } from '../session.js'
import { sizeArgument } from '../sizes.js'
import { printable, type Tool, usageError } from '../tool.js'

interface Values {
  format?: string
  backing?: string
  backingFormat?: string
  options?: string[]
  quiet?: boolean
  unsafe?: boolean
  object?: string[]
}

/** Runs `create`. */
export async function create(tool: Tool, args: readonly string[]): Promise<number> {
  const command = newCommand('create')
    .addOption(formatOption())
    .option('-b, --backing <file>')
    .option('-F, --backing-format <fmt>')
    .addOption(repeatedOption('-o, --options <list>'))
    .option('-q, --quiet')
    .option('-u, --unsafe')
    .addOption(repeatedOption('--object <def>'))
  const { options, operands } = parseCommandLine<Values>(tool, command, args)
  const [filename, sizeText, extra] = operands
  const list = joinOptionLists(options.options)
  const format = options.format ?? 'raw'
  return withSession(tool, async (session) => {
    const { graph } = session
    if (asksForOptions(list)) {
      await printCreationOptions(tool, graph, format, filename)
      return 0
    }
    if (filename === undefined) throw usageError(tool.name, 'Expecting image file name')
    const size = sizeText === undefined ? undefined : sizeArgument('image size', sizeText)
    if (extra !== undefined) throw usageError(tool.name, `Unexpected argument: ${extra}`)
    session.defineSecrets(checkObjects(options.object))
    await registerDrivers(graph, filename.includes(':') ? undefined : [format])
    const request = {
      filename,
      format,
      size,
      options: creationOptions(list),
      backingFile: options.backing,
      backingFormat: options.backingFormat,
      trustBacking: options.unsafe,
    }
    const prepared = await prepare(graph, request)
    if (options.quiet !== true) {
      tool.out(`Formatting '${printable(filename)}', fmt=${format} ${describeCreation(prepared.options)}\n`)
    }
    try {
      await graph.mainLoop((main) => createPreparedImage(main, graph, prepared), `creating ${filename}`)
    } catch (thrown) {
      throw creationFailed(printable(filename), thrown)
    }
    return 0
  })
}

async function prepare(graph: BlockGraph, request: CreateImageRequest): Promise<PreparedImage> {
  try {
    return await graph.mainLoop((main) => prepareImage(main, graph, request), `judging ${request.filename}`)
  } catch (thrown) {
    throw failed(printable(request.filename), thrown)
  }
}
