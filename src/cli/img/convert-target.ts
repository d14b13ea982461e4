// Making the target of a copy. A target that is one of the sources, or a file below one, is refused before it is emptied.

import { errnoMessage } from '../../common/errno.js'
import {
  type CreateImageRequest,
  createPreparedImage,
  type PreparedImage,
  prepareImage,
} from '../../global-state/life/create-image.js'
import type { NodeState } from '../../global-state/node-state.js'
import type { FlatOptions, OptionScalar } from '../../global-state/options/options.js'
import type { BlockDriverState } from '../../io/block-node.js'
import { registerDrivers } from '../drivers.js'
import { creationFailed, failed, messageText } from '../error-text.js'
import type { OpenImage, Session } from '../session.js'
import { printable, ToolError } from '../tool.js'

/** Makes an image for what `sources` hold. A failure says what was done meanwhile. */
export async function createTarget(
  session: Session,
  sources: readonly OpenImage[],
  request: CreateImageRequest,
  doing = `converting ${request.format}`,
): Promise<void> {
  const { graph } = session
  await registerDrivers(graph, request.filename.includes(':') ? undefined : [request.format])
  let prepared: PreparedImage
  try {
    const { size: _ignored, ...options } = request.options ?? {}
    // A backing file that does not open is found when the target is.
    const wanted = { ...request, options, trustBacking: true }
    prepared = await graph.mainLoop((main) => prepareImage(main, graph, wanted), `judging ${request.filename}`)
  } catch (thrown) {
    // Nothing was touched yet: the message speaks of the command line.
    const error = failed('', thrown)
    throw new ToolError(messageText(thrown), error.exitCode, error.hints)
  }
  const what = `${printable(request.filename)}: error while ${doing}`
  await refuseSource(sources, request.filename, what)
  try {
    await graph.mainLoop((main) => createPreparedImage(main, graph, prepared), `creating ${request.filename}`)
  } catch (thrown) {
    throw creationFailed(what, thrown)
  }
}

/** What opens an encrypted image that was made with `created`. Made a moment ago, it may be written by any method. */
export function keyOptions(created: FlatOptions): FlatOptions {
  const options: Record<string, OptionScalar> = {}
  for (const name of ['key-secret', 'encrypt.key-secret', 'encrypt.format']) {
    const value = created[name]
    if (value !== undefined) options[name] = value
  }
  if (created.encryption === 'on') options['encrypt.format'] = 'aes'
  return options
}

async function refuseSource(sources: readonly OpenImage[], filename: string, what: string): Promise<void> {
  const path = filename.replace(/^file:/, '')
  const target = await identity(path)
  if (target === undefined) return
  for (const file of sourceFiles(sources)) {
    if ((await identity(file)) !== target) continue
    throw new ToolError(`${what}: Failed to get "write" lock`, 1, [`Is another process using the image [${path}]?`])
  }
}

/** Device and inode; undefined where there is no such file. */
async function identity(path: string): Promise<string | undefined> {
  try {
    const { stat } = process.getBuiltinModule('node:fs/promises')
    const { dev, ino } = await stat(path, { bigint: true })
    return `${dev}:${ino}`
  } catch (thrown) {
    const code = (thrown as { code?: unknown }).code
    if (code === 'ENOENT' || code === 'ENOTDIR') return undefined
    if (code === 'EACCES') throw new ToolError(`Could not look at '${printable(path)}': ${errnoMessage('EACCES')}`)
    return undefined
  }
}

/** The names of all files below the sources. */
function sourceFiles(sources: readonly OpenImage[]): string[] {
  const files: string[] = []
  const pending: BlockDriverState[] = sources.map((source) => source.node)
  for (let node = pending.pop(); node !== undefined; node = pending.pop()) {
    for (const child of node.children) pending.push(child.node)
    const { filename } = (node as NodeState).options
    if (node.driver.name === 'file' && typeof filename === 'string') files.push(filename.replace(/^file:/, ''))
  }
  return files
}
