// Making image files. What can be judged is judged first, so that a tool may say what it is about to do; then the protocol
// makes the file and the format fills it.

import { BlockError, quoteOutside } from '../../common/error.js'
import { MAX_LENGTH } from '../../common/limits.js'
import {
  BLOCK_OPT_BACKING_FILE,
  BLOCK_OPT_BACKING_FMT,
  BLOCK_OPT_CLUSTER_SIZE,
  BLOCK_OPT_SIZE,
} from '../../common/option-names.js'
import type { BlockDriver, CreateContext } from '../driver.js'
import type { BlockGraph } from '../graph.js'
import type { MainLoop } from '../main-loop.js'
import { type OptionSchema, readOptions } from '../options/option-schema.js'
import type { FlatOptions, OptionScalar } from '../options/options.js'
import { lookAtBacking } from './creation-backing.js'
import { CreationFiles, protocolOf } from './creation-files.js'
import { readCreationValues } from './creation-values.js'

/** An image to be made. */
export interface CreateImageRequest {
  filename: string
  /** Name of the format driver. */
  format: string
  /** Length of the disk in bytes, unless `options` or the backing file say so. */
  size?: number | undefined
  /** Creation options (`BLOCK_OPT_*`), with values as a person writes them or as they are. */
  options?: FlatOptions
  backingFile?: string | undefined
  backingFormat?: string | undefined
  /** The backing file is not looked at: it need not be there. */
  trustBacking?: boolean | undefined
}

/** A request that was found to make sense. */
export interface PreparedImage {
  readonly filename: string
  readonly format: BlockDriver
  readonly protocol: BlockDriver
  /** Bytes; may exceed what the library or the host can do. */
  readonly size: number
  /**
   * Options given and the defaults of the format, in the order of its schema and then the protocol's; flags, sizes and
   * numbers read.
   */
  readonly options: FlatOptions
}

/** What a new image may be given: the options of its format and, under the same roof, those of its protocol. */
export interface CreationSchema {
  format: BlockDriver
  /** Undefined where no file name is known yet. */
  protocol: BlockDriver | undefined
  schema: OptionSchema
}

/** The creation options of `format` for an image called `filename`. EINVAL, ENOTSUP as {@link prepareImage}. */
export function creationSchema(graph: BlockGraph, formatName: string, filename: string | undefined): CreationSchema {
  const format = graph.registry.find(formatName)
  if (format === undefined) throw refusal(`Unknown file format ${quoteOutside(formatName)}`)
  const protocol = filename === undefined ? undefined : protocolOf(graph, filename)
  if (format.create === undefined) throw cannotCreate('Format', format)
  if (filename !== undefined && protocol?.create === undefined) throw cannotCreate('Protocol', protocol ?? format)
  const schema = { ...format.createOptions }
  for (const [name, field] of Object.entries(protocol?.createOptions ?? {})) schema[name] ??= field
  return { format, protocol, schema }
}

/**
 * Judges a request without changing anything. EINVAL for a format, protocol or option that is not known, for a missing or
 * doubled size, and for a value that is no flag or size; ENOTSUP where a driver cannot create images; what opening reports
 * where the backing file does not open.
 */
export async function prepareImage(
  main: MainLoop,
  graph: BlockGraph,
  request: CreateImageRequest,
): Promise<PreparedImage> {
  const { filename } = request
  const { format, protocol, schema } = creationSchema(graph, request.format, filename)
  const given = readCreationValues(schema, { ...request.options, ...backingOptions(request, format, schema) })
  const inOptions = given[BLOCK_OPT_SIZE]
  if (inOptions !== undefined && request.size !== undefined) throw refusal('The image size must be specified only once')
  const backingLength = await judgeBacking(main, graph, request, given)
  const size = inOptions ?? request.size ?? backingLength
  if (size === undefined) throw refusal('Image creation needs a size parameter')
  return {
    filename,
    format,
    protocol: protocol ?? format,
    size: Number(size),
    options: toldOptions(format, schema, { ...given, [BLOCK_OPT_SIZE]: size }),
  }
}

/**
 * Makes the image. EFBIG for a size that cannot be; otherwise what the drivers report. Where that fails, files that were made
 * already are deleted by protocols that can.
 */
export function createPreparedImage(main: MainLoop, graph: BlockGraph, prepared: PreparedImage): Promise<void> {
  return main.call('createImage', graph.environment, async (call) => {
    const { format, filename, options } = prepared
    const backingFormat = options[BLOCK_OPT_BACKING_FMT]
    if (backingFormat !== undefined && graph.registry.find(String(backingFormat)) === undefined) {
      throw refusal(`Parameter 'backing-fmt' does not accept value ${quoteOutside(String(backingFormat))}`)
    }
    if (prepared.size > MAX_LENGTH) throw tooLarge(format)
    const { values, rest } = readOptions(format.createOptions ?? {}, options, { driver: format.name })
    const files = new CreationFiles(main, graph, format, rest)
    const context: CreateContext = {
      environment: graph.environment,
      filename,
      createFile: async ({ filename: beside, ...wanted }) => {
        const file = await files.create(beside ?? filename, wanted)
        call.resumed()
        return file
      },
      openImage: async (children) => {
        const image = await files.open(children)
        call.resumed()
        return image
      },
      secret: (id) => graph.secrets.lookup(id),
      signal: call.signal,
    }
    try {
      await format.create?.(context, values)
    } catch (thrown) {
      await files.discard()
      throw thrown instanceof BlockError && thrown.code === 'EFBIG' ? tooLarge(format) : thrown
    }
    await files.close()
  })
}

/** Judges and makes an image at once. */
export async function createImage(main: MainLoop, graph: BlockGraph, request: CreateImageRequest): Promise<void> {
  await createPreparedImage(main, graph, await prepareImage(main, graph, request))
}

/** A backing file needs a format that has them. */
function backingOptions(request: CreateImageRequest, format: BlockDriver, schema: OptionSchema): FlatOptions {
  const { backingFile, backingFormat } = request
  const options: Record<string, OptionScalar> = {}
  if (backingFile !== undefined) {
    if (!Object.hasOwn(schema, BLOCK_OPT_BACKING_FILE)) {
      throw refusal(`Backing file not supported for file format '${format.name}'`)
    }
    options[BLOCK_OPT_BACKING_FILE] = backingFile
  }
  if (backingFormat !== undefined) {
    if (!Object.hasOwn(schema, BLOCK_OPT_BACKING_FMT)) {
      throw refusal(`Backing file format not supported for file format '${format.name}'`)
    }
    options[BLOCK_OPT_BACKING_FMT] = backingFormat
  }
  return options
}

/** A backing file has a name, a format that is said (threats.md N07), and opens. Gives its length, where it was looked at. */
async function judgeBacking(
  main: MainLoop,
  graph: BlockGraph,
  request: CreateImageRequest,
  given: FlatOptions,
): Promise<number | undefined> {
  const { [BLOCK_OPT_BACKING_FILE]: name, [BLOCK_OPT_BACKING_FMT]: format } = given
  if (typeof name !== 'string') return undefined
  if (name === '') throw refusal('Expected backing file name, got empty string')
  if (name === request.filename) {
    throw refusal('Error: Trying to create an image with the same filename as the backing file')
  }
  const wanted = typeof format === 'string' ? format : undefined
  const found =
    request.trustBacking === true ? undefined : await lookAtBacking(main, graph, request.filename, name, wanted)
  if (wanted !== undefined) return found?.length
  const hint = found === undefined ? {} : { hint: `Detected format of ${found.format}.` }
  throw new BlockError('EINVAL', 'Backing file specified without backing format', { op: 'create', ...hint })
}

function toldOptions(format: BlockDriver, schema: OptionSchema, given: FlatOptions): FlatOptions {
  const told: Record<string, OptionScalar> = {}
  // What a protocol does by default is nobody's concern.
  const defaults: OptionSchema = format.kind === 'protocol' ? {} : (format.createOptions ?? {})
  for (const name of Object.keys(schema)) {
    const value = Object.hasOwn(given, name) ? given[name] : defaults[name]?.default
    if (value !== undefined) told[name] = value as OptionScalar
  }
  return told
}

function cannotCreate(what: 'Format' | 'Protocol', driver: BlockDriver): BlockError {
  return new BlockError('ENOTSUP', `${what} driver '${driver.name}' does not support image creation`, { op: 'create' })
}

function tooLarge(format: BlockDriver): BlockError {
  const advice =
    format.createOptions?.[BLOCK_OPT_CLUSTER_SIZE] === undefined ? '' : ' (try using a larger cluster size)'
  const message = `The image size is too large for file format '${format.name}'${advice}`
  return new BlockError('EFBIG', message, { op: 'create' })
}

function refusal(message: string): BlockError {
  return new BlockError('EINVAL', message, { op: 'create' })
}
