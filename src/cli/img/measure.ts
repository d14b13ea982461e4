// measure: how large an image would be, of a disk without data or of another image.

import type { ImageMeasure } from '../../global-state/driver.js'
import { type MeasureImageRequest, measureImage } from '../../global-state/life/measure-image.js'
import { parseCommandLine, repeatedOption } from '../command-line.js'
import { creationOptions, joinOptionLists } from '../creation-options.js'
import { registerDrivers } from '../drivers.js'
import { failure, messageText } from '../error-text.js'
import { checkObjects, refuseFormatWithImageOpts } from '../image-options.js'
import { type ImageQueryValues, newImageQuery } from '../image-query.js'
import { prettyJson } from '../json-text.js'
import { openImage } from '../open-image.js'
import { type Session, withSession } from '../session.js'
import { sizeArgument } from '../sizes.js'
import { type Tool, ToolError } from '../tool.js'
import { showSnapshot, snapshotArgument } from './convert-snapshot.js'

interface Values extends ImageQueryValues {
  outputFormat: string
  options?: string[]
  size?: number
  l?: string
}

/** Runs `measure`. */
export async function measure(tool: Tool, args: readonly string[]): Promise<number> {
  const command = newImageQuery('measure')
    .option('-l <param>')
    .addOption(repeatedOption('-o, --options <list>'))
    .option('-O, --output-format <fmt>', '', 'raw')
    .option('--size <bytes>', '', (text: string) => sizeArgument('image size', text))
  const { options, operands } = parseCommandLine<Values>(tool, command, args)
  const list = joinOptionLists(options.options)
  const secrets = checkObjects(options.object)
  const name = sourceOf(options, operands)
  const found = await withSession(tool, async (session) => {
    session.defineSecrets(secrets)
    return measureNamed(session, name, options, list)
  })
  tool.out(options.output === 'json' ? `${prettyJson(measureData(found))}\n` : measureText(found))
  return 0
}

/** The image to be measured; undefined where a size is given instead. */
function sourceOf(options: Values, operands: readonly string[]): string | undefined {
  const [name] = operands
  if (operands.length > 1) throw new ToolError('At most one filename argument is allowed.')
  if (name === undefined) {
    if (options.imageOpts === true || options.format !== undefined || options.l !== undefined) {
      throw new ToolError('--image-opts, -f, and -l require a filename argument.')
    }
    if (options.size === undefined) throw new ToolError('Either --size N or one filename must be specified.')
    return undefined
  }
  if (options.size !== undefined) throw new ToolError('--size N cannot be used together with a filename.')
  refuseFormatWithImageOpts(options.format, options.imageOpts)
  return name
}

async function measureNamed(
  session: Session,
  name: string | undefined,
  options: Values,
  list: string | undefined,
): Promise<ImageMeasure> {
  const { graph } = session
  const { format, imageOpts, forceShare, size = 0 } = options
  const wanted = options.l === undefined ? undefined : snapshotArgument(options.l)
  const image = name === undefined ? undefined : await openImage(session, { name, format, imageOpts, forceShare })
  if (image !== undefined && wanted !== undefined) await showSnapshot(session, [image], wanted)
  await registerDrivers(graph, undefined)
  const request: MeasureImageRequest = {
    format: options.outputFormat,
    options: creationOptions(list),
    content: image?.node ?? size,
  }
  try {
    return await graph.mainLoop((main) => measureImage(main, graph, request), 'measuring an image')
  } catch (thrown) {
    const error = failure(thrown)
    if (!/^(Invalid parameter |Parameter '.*' expects )/.test(messageText(thrown))) throw error
    const about = `Invalid options for file format '${options.outputFormat}'`
    throw new ToolError(`${error.message}\n${about}`, error.exitCode, error.hints)
  }
}

function measureData(found: ImageMeasure): Record<string, number> {
  const { bitmaps } = found
  return {
    ...(bitmaps === undefined ? {} : { bitmaps }),
    required: found.required,
    'fully-allocated': found.fullyAllocated,
  }
}

function measureText(found: ImageMeasure): string {
  const { required, fullyAllocated, bitmaps } = found
  const lines = [`required size: ${required}`, `fully allocated size: ${fullyAllocated}`]
  if (bitmaps !== undefined) lines.push(`bitmaps size: ${bitmaps}`)
  return lines.map((line) => `${line}\n`).join('')
}
