// dd: copies blocks of an image, as they are, into a new one.

import { BDRV_SECTOR_SIZE } from '../../common/limits.js'
import { alignUp, MiB } from '../../common/units.js'
import { workInOrder } from '../../jobs/ordered-pieces.js'
import { newCommand, parseCommandLine, repeatedOption } from '../command-line.js'
import { registerDrivers } from '../drivers.js'
import { errnoText } from '../error-text.js'
import { readDisk, virtualSize } from '../image-data.js'
import {
  checkObjects,
  forceShareOption,
  formatOption,
  type ImageOptionValues,
  imageOptsOption,
  refuseFormatWithImageOpts,
} from '../image-options.js'
import { openImage } from '../open-image.js'
import { type OpenImage, type Session, withSession } from '../session.js'
import { sizeArgument } from '../sizes.js'
import { printable, type Tool, ToolError } from '../tool.js'
import { createTarget } from './convert-target.js'

const INT_MAX = 2147483647
const DEFAULT_BLOCK = 512
/** Bytes of one copy, and copies in flight. */
const BUFFER_SIZE = 2 * MiB
const IN_FLIGHT = 4

interface Values extends ImageOptionValues {
  outputFormat: string
}

interface Operands {
  input: string
  output: string
  /** Bytes. */
  block: number
  /** Blocks. */
  count: number
  skip: number
}

/** Runs `dd`. */
export async function dd(tool: Tool, args: readonly string[]): Promise<number> {
  const command = newCommand('dd')
    .addOption(formatOption())
    .option('-O, --output-format <fmt>', '', 'raw')
    .addOption(forceShareOption())
    .addOption(imageOptsOption())
    .addOption(repeatedOption('--object <def>'))
  const { options, operands } = parseCommandLine<Values>(tool, command, args)
  const task = readOperands(operands)
  const secrets = checkObjects(options.object)
  refuseFormatWithImageOpts(options.format, options.imageOpts)
  await withSession(tool, (session) => {
    session.defineSecrets(secrets)
    return copyBlocks(session, task, options)
  })
  return 0
}

function readOperands(operands: readonly string[]): Operands {
  const read: Partial<Operands> = {}
  for (const operand of operands) {
    const equals = operand.indexOf('=')
    const name = equals < 0 ? operand : operand.slice(0, equals)
    const value = operand.slice(equals + 1)
    if (equals >= 0 && name === 'if') read.input = value
    else if (equals >= 0 && name === 'of') read.output = value
    else if (equals >= 0 && name === 'bs') read.block = blockSize(value)
    else if (equals >= 0 && name === 'count') read.count = sizeArgument('count', value)
    else if (equals >= 0 && name === 'skip') read.skip = sizeArgument('skip', value)
    else throw new ToolError(`unrecognized operand ${printable(name)}`)
  }
  const { input, output, block = DEFAULT_BLOCK, count = Number.MAX_VALUE, skip = 0 } = read
  if (input === undefined || output === undefined) throw new ToolError('Must specify both input and output files')
  return { input, output, block, count, skip }
}

function blockSize(text: string): number {
  const size = sizeArgument('bs', text)
  if (size > 0 && size <= INT_MAX) return size
  throw new ToolError(`Invalid bs specified. Must be between 1 and ${INT_MAX}.`)
}

async function copyBlocks(session: Session, operands: Operands, options: Values): Promise<void> {
  const { tool, graph } = session
  const { input, output, block, count, skip } = operands
  const { format, imageOpts, forceShare, outputFormat } = options
  const source = await openImage(session, { name: input, format, imageOpts, forceShare })
  await registerDrivers(graph, undefined)
  if (graph.registry.find(outputFormat) === undefined) throw new ToolError('Unknown file format')
  // Blocks are counted from the beginning of the input, those that are skipped as well.
  const end = Math.min(virtualSize(source), count * block)
  const start = skip * block
  if (start > end) tool.err(`${tool.name}: ${printable(input)}: cannot skip to specified offset\n`)
  const size = Math.max(end - start, 0)
  const image = { filename: output, format: outputFormat, size: alignUp(size, BDRV_SECTOR_SIZE) }
  await createTarget(session, [source], image, 'creating output image')
  const target = await openImage(session, { name: output, format: outputFormat, writable: true, resizable: true })
  tool.expectWork?.(size)
  await copyRange(source, target, start, size)
  await target.backend.flush()
}

/** Bytes go in order; where blocks begin makes no difference to them. */
async function copyRange(source: OpenImage, target: OpenImage, start: number, size: number): Promise<void> {
  await workInOrder(pieces(size), IN_FLIGHT, async ({ offset, bytes }, turn) => {
    const buffer = new Uint8Array(bytes)
    try {
      await readDisk(source, start + offset, buffer)
    } catch (thrown) {
      throw new ToolError(`error while reading from input image file: ${errnoText(thrown)}`)
    }
    await turn
    try {
      await target.backend.write(offset, buffer)
    } catch (thrown) {
      throw new ToolError(`error while writing to output image file: ${errnoText(thrown)}`)
    }
  })
}

function* pieces(size: number): Generator<{ offset: number; bytes: number }> {
  for (let offset = 0; offset < size; offset += BUFFER_SIZE)
    yield { offset, bytes: Math.min(BUFFER_SIZE, size - offset) }
}
