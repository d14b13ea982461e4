// Opening an image as a command line names it: a file name with or without a format, a `json:` name, or a list of options.
// Where the format is missing it is guessed, as users of such tools expect; a raw guess that is written to is warned about,
// and its first sector is guarded by the driver.

import { pathHasProtocol } from '../common/filename.js'
import { BDRV_O_NO_FLUSH, BDRV_O_NOCACHE, type CacheMode } from '../common/open-flags.js'
import {
  BLK_PERM_ALL,
  BLK_PERM_CONSISTENT_READ,
  BLK_PERM_RESIZE,
  BLK_PERM_WRITE,
  type Permissions,
} from '../common/permissions.js'
import { createBackend } from '../global-state/backend.js'
import { closeNode } from '../global-state/life/close.js'
import { openNode } from '../global-state/life/open.js'
import { isJsonFilename, parseJsonFilename, parseOptionString } from '../global-state/options/option-text.js'
import type { FlatOptions, OptionScalar } from '../global-state/options/options.js'
import { registerDrivers } from './drivers.js'
import { failed } from './error-text.js'
import type { OpenImage, Session } from './session.js'
import { printable } from './tool.js'

/** How an image is to be opened. */
export interface ImageRequest {
  /** As the user wrote it. */
  name: string
  format?: string | undefined
  /** `name` is a list of options. */
  imageOpts?: boolean | undefined
  forceShare?: boolean | undefined
  /** Asks for the permission to write. */
  writable?: boolean
  /** Asks for the permission to change its size. */
  resizable?: boolean
  cache?: CacheMode
  /** `BDRV_O_*` beyond those that follow from the other fields. */
  flags?: number
  /** Further options of the node, such as the secret of an image that was just made. */
  options?: FlatOptions
  /** Options for the protocol node. */
  fileOptions?: FlatOptions
  /** Exit code of a failure; 1 by default. */
  exitCode?: number
}

/** Opens an image; it is closed with the session. Throws a ToolError that names it. */
export async function openImage(session: Session, request: ImageRequest): Promise<OpenImage> {
  const what = `Could not open '${printable(request.name)}'`
  try {
    const image = await openRequested(session, request)
    session.images.push(image)
    warnOfGuess(session, request, image)
    return image
  } catch (thrown) {
    throw failed(what, thrown, request.exitCode)
  }
}

async function openRequested(session: Session, request: ImageRequest): Promise<OpenImage> {
  const { graph } = session
  const options = { ...imageOptions(request), ...accessOptions(request) }
  const drivers = namedDrivers(options)
  await registerDrivers(graph, drivers)
  const unknown = drivers?.find((name) => graph.registry.find(name) === undefined)
  if (unknown !== undefined) throw new Error(`Unknown driver '${printable(unknown)}'`)
  refuseUnknownProtocol(session, options)
  const flags = request.flags ?? 0
  const writable = request.writable === true
  let perm: Permissions = BLK_PERM_CONSISTENT_READ
  if (writable) perm |= BLK_PERM_WRITE
  if (request.resizable === true) perm |= BLK_PERM_RESIZE
  return graph.mainLoop(async (main) => {
    const node = await openNode(main, graph, options, { probe: true, flags })
    try {
      const backend = await createBackend(main, graph, { perm, shared: BLK_PERM_ALL, node })
      if (request.cache?.writethrough === true) backend.root.writeCache = false
      return { name: request.name, node, backend }
    } catch (thrown) {
      await closeNode(main, node)
      throw thrown
    }
  }, `opening ${request.name}`)
}

/** What the user said of the image, as options of a node. */
function imageOptions(request: ImageRequest): FlatOptions {
  const { name, format } = request
  if (request.imageOpts === true) {
    if (!name.includes('=')) {
      throw new Error(`Cannot find device='${printable(name)}' nor node-name='${printable(name)}'`)
    }
    return requireDriverOrFile(parseOptionString(name))
  }
  if (name === '') throw new Error("The 'file' block driver requires a file name")
  const given: FlatOptions = isJsonFilename(name)
    ? requireDriverOrFile(parseJsonFilename(name), format)
    : { filename: name }
  const all = { ...request.fileOptions, ...request.options, ...given }
  return format === undefined ? all : { ...all, driver: format }
}

function requireDriverOrFile(options: FlatOptions, format?: string): FlatOptions {
  const says = Object.keys(options).some(
    (key) => key === 'driver' || key === 'file' || key.startsWith('file.') || key === 'filename',
  )
  if (!says && format === undefined) throw new Error('Must specify either driver or file')
  return options
}

/** What the command does with the image, as options of a node. */
function accessOptions(request: ImageRequest): FlatOptions {
  const options: Record<string, OptionScalar> = { 'read-only': request.writable !== true }
  if (request.writable === true) options.discard = 'unmap'
  if (request.forceShare === true) options['force-share'] = true
  const flags = request.cache?.flags ?? 0
  if ((flags & BDRV_O_NOCACHE) !== 0) options['cache.direct'] = true
  if ((flags & BDRV_O_NO_FLUSH) !== 0) options['cache.no-flush'] = true
  return options
}

/** The drivers that `options` name; undefined where one has to be guessed. */
function namedDrivers(options: FlatOptions): string[] | undefined {
  const names: string[] = []
  for (const [key, value] of Object.entries(options)) {
    if ((key === 'driver' || key.endsWith('.driver')) && typeof value === 'string') names.push(value)
    const filename = (key === 'filename' || key.endsWith('.filename')) && typeof value === 'string' ? value : ''
    if (pathHasProtocol(filename)) names.push(filename.slice(0, filename.indexOf(':')))
  }
  return options.driver === undefined ? undefined : names
}

function refuseUnknownProtocol(session: Session, options: FlatOptions): void {
  const { filename } = options
  if (typeof filename !== 'string' || !pathHasProtocol(filename)) return
  const prefix = filename.slice(0, filename.indexOf(':'))
  if (session.graph.registry.findProtocol(prefix) === undefined)
    throw new Error(`Unknown protocol '${printable(prefix)}'`)
}

function warnOfGuess(session: Session, request: ImageRequest, { node }: OpenImage): void {
  if (!node.probed || node.readOnly || node.driver.name !== 'raw') return
  const indent = '         '
  session.tool.err(
    `WARNING: Image format was not specified for '${printable(request.name)}' and probing guessed raw.\n` +
      `${indent}Automatically detecting the format is dangerous for raw images, write operations on block 0 will be restricted.\n` +
      `${indent}Specify the 'raw' format explicitly to remove the restrictions.\n`,
  )
}
