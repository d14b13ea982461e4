// Making image files. What can be judged without touching anything is judged first, so that
// a tool may say what it is about to do; then the protocol makes the file and the format fills it.

import { BlockError, quoteOutside } from '../../common/error.js'
import { pathHasProtocol } from '../../common/filename.js'
import { MAX_LENGTH } from '../../common/limits.js'
import { BLOCK_OPT_BACKING_FILE, BLOCK_OPT_BACKING_FMT, BLOCK_OPT_SIZE } from '../../common/option-names.js'
import { BLK_PERM_ALL, BLK_PERM_CONSISTENT_READ, BLK_PERM_RESIZE, BLK_PERM_WRITE } from '../../common/permissions.js'
import type { Offset } from '../../common/units.js'
import { type BlockBackend, createBackend } from '../backend.js'
import type { BlockDriver, CreateContext, CreateFile } from '../driver.js'
import type { BlockGraph } from '../graph.js'
import type { MainLoop } from '../main-loop.js'
import type { NodeState } from '../node-state.js'
import { type OptionSchema, readOptions } from '../options/option-schema.js'
import type { FlatOptions, OptionScalar } from '../options/options.js'
import { parseSize } from '../options/size-text.js'
import { closeNode } from './close.js'
import { openNode } from './open.js'

/** An image to be made. */
export interface CreateImageRequest {
  filename: string
  /** Name of the format driver. */
  format: string
  /** Length of the disk in bytes, unless `options` says so. */
  size?: number | undefined
  /** Creation options (`BLOCK_OPT_*`), with values as a person writes them or as they are. */
  options?: FlatOptions
  backingFile?: string | undefined
  backingFormat?: string | undefined
}

/** A request that was found to make sense. */
export interface PreparedImage {
  readonly filename: string
  readonly format: BlockDriver
  readonly protocol: BlockDriver
  /** Bytes; may exceed what the library or the host can do. */
  readonly size: number
  /** Options given, flags and sizes read, `size` included. */
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
  return { format, protocol, schema: { ...protocol?.createOptions, ...format.createOptions } }
}

/**
 * Judges a request without touching anything. EINVAL for a format, protocol or option that is not known, for a missing or
 * doubled size, and for a value that is no flag or size; ENOTSUP where a driver cannot create images.
 */
export function prepareImage(graph: BlockGraph, request: CreateImageRequest): PreparedImage {
  const { filename } = request
  const { format, protocol, schema } = creationSchema(graph, request.format, filename)
  const options = readGiven(schema, { ...request.options, ...backingOptions(request, format, schema) })
  const inOptions = options[BLOCK_OPT_SIZE]
  if (inOptions !== undefined && request.size !== undefined) throw refusal('The image size must be specified only once')
  const size = inOptions ?? request.size
  if (size === undefined) throw refusal('Image creation needs a size parameter')
  return {
    filename,
    format,
    protocol: protocol ?? format,
    size: Number(size),
    options: { ...options, [BLOCK_OPT_SIZE]: size },
  }
}

/** Makes the image. EFBIG for a size that cannot be; otherwise what the drivers report. */
export function createPreparedImage(main: MainLoop, graph: BlockGraph, prepared: PreparedImage): Promise<void> {
  return main.call('createImage', graph.environment, async (call) => {
    const { format, filename, options } = prepared
    if (prepared.size > MAX_LENGTH) throw tooLarge(format)
    const own =
      format === prepared.protocol ? { values: readAll(format, options), rest: {} } : splitOptions(format, options)
    const files: OpenFile[] = []
    const context: CreateContext = {
      environment: graph.environment,
      filename,
      createFile: async (wanted) => {
        const file = await createFile(main, graph, prepared, { ...own.rest, ...wanted })
        files.push(file)
        call.resumed()
        return file
      },
      secret: (id) => graph.secrets.lookup(id),
      signal: call.signal,
    }
    try {
      await format.create?.(context, own.values)
    } catch (thrown) {
      throw thrown instanceof BlockError && thrown.code === 'EFBIG' ? tooLarge(format) : thrown
    } finally {
      await closeFiles(main, files)
    }
  })
}

/** Judges and makes an image at once. */
export function createImage(main: MainLoop, graph: BlockGraph, request: CreateImageRequest): Promise<void> {
  return createPreparedImage(main, graph, prepareImage(graph, request))
}

/** The driver of a file name's protocol. */
function protocolOf(graph: BlockGraph, filename: string): BlockDriver {
  const prefix = pathHasProtocol(filename) ? filename.slice(0, filename.indexOf(':')) : undefined
  const driver = prefix === undefined ? graph.registry.find('file') : graph.registry.findProtocol(prefix)
  if (driver === undefined) throw refusal(`Unknown protocol ${quoteOutside(prefix ?? 'file')}`)
  return driver
}

/** A backing file needs a format that has them, and the format of the backing file. */
function backingOptions(request: CreateImageRequest, format: BlockDriver, schema: OptionSchema): FlatOptions {
  const { backingFile, backingFormat, filename } = request
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
  if (backingFile === filename)
    throw refusal('Error: Trying to create an image with the same filename as the backing file')
  if (backingFile !== undefined && backingFormat === undefined) {
    throw refusal('Backing file specified without backing format')
  }
  return options
}

/** Refuses options the schema does not know; reads flags and sizes. Words are left to the driver that knows them. */
function readGiven(schema: OptionSchema, given: FlatOptions): FlatOptions {
  const read: Record<string, OptionScalar> = {}
  for (const [name, value] of Object.entries(given)) {
    const field = Object.hasOwn(schema, name) ? schema[name] : undefined
    if (field === undefined) throw refusal(`Invalid parameter ${quoteOutside(name)}`)
    read[name] = field.type === 'size' ? readSize(name, value) : field.type === 'flag' ? readFlag(name, value) : value
  }
  return read
}

/** Sizes beyond the cap pass: what is too large for the format is its to say. */
function readSize(name: string, value: OptionScalar): number {
  const size = typeof value === 'string' ? parseSize(value) : value
  if (typeof size === 'number' && size >= 0 && Number.isInteger(size) && size < 2 ** 64) return size
  throw new BlockError('EINVAL', `Parameter '${name}' expects a non-negative number below 2^64`, {
    op: 'create',
    hint: 'Optional suffix k, M, G, T, P or E means kilo-, mega-, giga-, tera-, peta-\nand exabytes, respectively.',
  })
}

function readFlag(name: string, value: OptionScalar): boolean {
  if (typeof value === 'boolean') return value
  if (value === 'on' || value === 'off') return value === 'on'
  throw refusal(`Parameter '${name}' expects 'on' or 'off'`)
}

/** The options of the format, read; the rest is the protocol's. */
function splitOptions(
  format: BlockDriver,
  options: FlatOptions,
): { values: Record<string, unknown>; rest: FlatOptions } {
  const { values, rest } = readOptions(format.createOptions ?? {}, options, { driver: format.name })
  return { values, rest }
}

function readAll(driver: BlockDriver, options: FlatOptions): Record<string, unknown> {
  return readOptions(driver.createOptions ?? {}, options, { driver: driver.name }).values
}

interface OpenFile extends CreateFile {
  node: NodeState
  backend: BlockBackend
}

/** Lets the protocol make the file, and opens it for the format to write. */
async function createFile(
  main: MainLoop,
  graph: BlockGraph,
  prepared: PreparedImage,
  options: Record<string, unknown> & { size: Offset },
): Promise<OpenFile> {
  const { protocol, filename } = prepared
  const context: CreateContext = {
    environment: graph.environment,
    filename,
    createFile: async () => {
      throw new BlockError('ENOTSUP', `driver '${protocol.name}' is a protocol: no file is below it`, { op: 'create' })
    },
    secret: (id) => graph.secrets.lookup(id),
    signal: undefined,
  }
  const given: Record<string, OptionScalar> = {}
  for (const [name, value] of Object.entries(options)) {
    if (value !== undefined && Object.hasOwn(protocol.createOptions ?? {}, name)) given[name] = value as OptionScalar
  }
  await protocol.create?.(context, readAll(protocol, given))
  const node = await openNode(main, graph, { driver: protocol.name, filename, discard: 'unmap' })
  try {
    const perm = BLK_PERM_CONSISTENT_READ | BLK_PERM_WRITE | BLK_PERM_RESIZE
    const backend = await createBackend(main, graph, { node, perm, shared: BLK_PERM_ALL, allowWriteBeyondEof: true })
    const { edge } = backend.root
    if (edge === undefined) throw new BlockError('ENOMEDIUM', 'the new file has gone', { op: 'create' })
    return { node, backend, edge }
  } catch (thrown) {
    await closeNode(main, node)
    throw thrown
  }
}

/** Closes every file, the last opened first; then throws the first error. */
async function closeFiles(main: MainLoop, files: readonly OpenFile[]): Promise<void> {
  const errors: unknown[] = []
  for (const { backend, node } of [...files].reverse()) {
    for (const close of [() => backend.close(main), () => closeNode(main, node)]) {
      await close().catch((error: unknown) => errors.push(error))
    }
  }
  if (errors.length > 0) throw errors[0]
}

function cannotCreate(what: 'Format' | 'Protocol', driver: BlockDriver): BlockError {
  return new BlockError('ENOTSUP', `${what} driver '${driver.name}' does not support image creation`, { op: 'create' })
}

function tooLarge(format: BlockDriver): BlockError {
  return new BlockError('EFBIG', `The image size is too large for file format '${format.name}'`, { op: 'create' })
}

function refusal(message: string): BlockError {
  return new BlockError('EINVAL', message, { op: 'create' })
}
