// Opening an image as a command line names it: a file name with or without a format, a `json:` name, or a list of options.
// Where the format is missing it is guessed, as users of such tools expect; a raw guess that is written to is warned about,
// and its first sector is guarded by the driver.

import { pathHasProtocol } from '../common/filename.js'
import { BDRV_SECTOR_SIZE } from '../common/limits.js'
import { BDRV_O_NO_FLUSH, BDRV_O_NOCACHE, type CacheMode } from '../common/open-flags.js'
import {
  BLK_PERM_ALL,
  BLK_PERM_CONSISTENT_READ,
  BLK_PERM_RESIZE,
  BLK_PERM_WRITE,
  type Permissions,
} from '../common/permissions.js'
import { alignUp } from '../common/units.js'
import { createBackend } from '../global-state/backend.js'
import { closeNode } from '../global-state/life/close.js'
import { openNode } from '../global-state/life/open.js'
import type { NodeState } from '../global-state/node-state.js'
import { isJsonFilename, parseJsonFilename, parseOptionString } from '../global-state/options/option-text.js'
import type { FlatOptions, OptionScalar } from '../global-state/options/options.js'
import type { BlockDriverState } from '../io/block-node.js'
import { enableCopyOnRead } from '../io/gates.js'
import { registerDrivers } from './drivers.js'
import { failed } from './error-text.js'
import type { OpenImage, Session } from './session.js'
import { printable } from './tool.js'

/** How an image is to be opened. */
export interface ImageRequest {
  /** As the user wrote it; undefined where options say everything. */
  name: string | undefined
  format?: string | undefined
  /** `name` is a list of options. */
  imageOpts?: boolean | undefined
  /** What the user says of the node besides. */
  options?: FlatOptions
  forceShare?: boolean | undefined
  /** Asks for the permission to write. */
  writable?: boolean
  /** Where the image's own options say read-only it is opened so, and is no failure. */
  mayBeReadOnly?: boolean
  /** Asks for the permission to change its size. */
  resizable?: boolean
  cache?: CacheMode
  /** `BDRV_O_*` beyond those that follow from the other fields. */
  flags?: number
  /** How a file that is named by itself is reached. */
  aio?: string | undefined
  /** Whether discards of a writable image reach it; they do by default. */
  discard?: 'unmap' | 'ignore'
  /** Reads keep in the image what they fetch from its backing files. */
  copyOnRead?: boolean
  /** Writes go to a temporary overlay, and are gone with it. */
  snapshot?: boolean
  /** What the message of a failure begins with. */
  failure?: string
  /** Exit code of a failure; 1 by default. */
  exitCode?: number
}

/** Opens an image; it is closed with the session. Throws a ToolError that names it. */
export async function openImage(session: Session, request: ImageRequest): Promise<OpenImage> {
  try {
    const image = await openRequested(session, request)
    session.images.push(image)
    warnOfGuess(session, image)
    return image
  } catch (thrown) {
    const what = request.failure ?? `Could not open '${printable(request.name ?? '')}'`
    throw failed(what, thrown, request.exitCode)
  }
}

async function openRequested(session: Session, request: ImageRequest): Promise<OpenImage> {
  const { graph } = session
  const { name = '', snapshot = false, copyOnRead = false } = request
  const options = { ...accessOptions(request), ...imageOptions(request) }
  const drivers = namedDrivers(options)
  await registerDrivers(graph, snapshot ? undefined : drivers)
  refuseUnknownProtocol(session, options)
  const unknown = drivers?.find((driver) => graph.registry.find(driver) === undefined)
  if (unknown !== undefined) throw new Error(`Unknown driver '${printable(unknown)}'`)
  const opening = { probe: true, flags: request.flags ?? 0 }
  return graph.mainLoop(async (main) => {
    const node = snapshot
      ? await (await import('./temporary-overlay.js')).openTemporaryOverlay(
          main,
          graph,
          options,
          opening,
          request.writable === true,
        )
      : await openNode(main, graph, options, opening)
    try {
      if (copyOnRead) startCopyOnRead(node)
      const backend = await createBackend(main, graph, {
        perm: permissionsOf(request, node),
        shared: BLK_PERM_ALL,
        node,
      })
      if (request.cache?.writethrough === true) backend.root.writeCache = false
      return { name, node, backend }
    } catch (thrown) {
      await closeNode(main, node)
      throw thrown
    }
  }, `opening ${name}`)
}

function permissionsOf(request: ImageRequest, node: NodeState): Permissions {
  let perm: Permissions = BLK_PERM_CONSISTENT_READ
  if (request.resizable === true) perm |= BLK_PERM_RESIZE
  if (request.writable !== true || (request.mayBeReadOnly === true && node.readOnly)) return perm
  perm |= BLK_PERM_WRITE
  if (endsInSector(node)) perm |= BLK_PERM_RESIZE
  return perm
}

/** A disk has whole sectors. Where requests do too, but the node ends in one, a write of that one makes it longer. */
function endsInSector({ state, file }: BlockDriverState): boolean {
  const { length, limits } = state
  const { requestAlignment } = limits
  const ragged = length % requestAlignment !== 0 && alignUp(length, BDRV_SECTOR_SIZE) % requestAlignment === 0
  return ragged || (file !== undefined && endsInSector(file.node))
}

function startCopyOnRead(node: NodeState): void {
  if (node.readOnly) throw new Error("Can't use copy-on-read on read-only device")
  enableCopyOnRead(node)
}

/** What the user said of the image, as options of a node. */
function imageOptions(request: ImageRequest): FlatOptions {
  const { name, format } = request
  const options = format === undefined ? { ...request.options } : { ...request.options, driver: format }
  if (name === undefined) return requireDriverOrFile(options)
  if (request.imageOpts === true) {
    if (!name.includes('=')) {
      throw new Error(`Cannot find device='${printable(name)}' nor node-name='${printable(name)}'`)
    }
    return requireDriverOrFile(parseOptionString(name))
  }
  if (name === '') throw new Error("The 'file' block driver requires a file name")
  if (isJsonFilename(name)) return { ...requireDriverOrFile(parseJsonFilename(name), format), ...options }
  if (Object.hasOwn(options, 'file.filename')) {
    throw new Error("Can't specify 'file' and 'filename' options at the same time")
  }
  // Only a node that is made out of a plain file name is told how to reach the host.
  const key = format === 'file' ? 'aio' : 'file.aio'
  const aio = request.aio === undefined || name.includes(':') ? {} : { [key]: request.aio }
  return { ...aio, ...options, filename: name }
}

function requireDriverOrFile(options: FlatOptions, format?: string): FlatOptions {
  const says = Object.keys(options).some(
    (key) => key === 'driver' || key === 'file' || key.startsWith('file.') || key === 'filename',
  )
  if (!says && format === undefined) throw new Error('Must specify either driver or file')
  return options
}

/** What the command does with the image, as options of a node; what the user says wins over it. */
function accessOptions(request: ImageRequest): FlatOptions {
  const { writable = false, snapshot = false } = request
  const options: Record<string, OptionScalar> = { 'read-only': !writable || snapshot }
  if (writable) options.discard = request.discard ?? 'unmap'
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

function warnOfGuess(session: Session, { name, node }: OpenImage): void {
  if (!node.probed || node.readOnly || node.driver.name !== 'raw') return
  const indent = '         '
  session.tool.err(
    `WARNING: Image format was not specified for '${printable(name)}' and probing guessed raw.\n` +
      `${indent}Automatically detecting the format is dangerous for raw images, write operations on block 0 will be restricted.\n` +
      `${indent}Specify the 'raw' format explicitly to remove the restrictions.\n`,
  )
}
