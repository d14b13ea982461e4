// snapshot: lists, takes, applies and deletes the snapshots inside an image.

import { errnoNumber } from '../../common/errno.js'
import { toBlockError } from '../../common/error.js'
import { newCommand, parseCommandLine, repeatedOption } from '../command-line.js'
import { errnoText, messageText } from '../error-text.js'
import { checkObjects, forceShareOption, imageOptsOption } from '../image-options.js'
import { openImage } from '../open-image.js'
import { drainedOn, type OpenImage, type Session, withSession } from '../session.js'
import { snapshotTable } from '../snapshot-text.js'
import { printable, printError, type Tool, ToolError, usageError } from '../tool.js'

/** Bytes of a name; more is cut off. */
const MAX_NAME = 255

interface Values {
  quiet?: boolean
  forceShare?: boolean
  imageOpts?: boolean
  object?: string[]
}

type Action = { type: 'list' | 'none' } | { type: 'apply' | 'create' | 'delete'; name: string }

/** Runs `snapshot`. */
export async function snapshot(tool: Tool, args: readonly string[]): Promise<number> {
  const actions: Action[] = []
  const named = (type: 'apply' | 'create' | 'delete') => (name: string) => {
    actions.push({ type, name })
    return name
  }
  const command = newCommand('snapshot')
    .option('-l')
    .option('-a <name>', '', named('apply'))
    .option('-c <name>', '', named('create'))
    .option('-d <name>', '', named('delete'))
    .option('-q, --quiet')
    .addOption(forceShareOption())
    .addOption(imageOptsOption())
    .addOption(repeatedOption('--object <def>'))
  command.on('option:l', () => actions.push({ type: 'list' }))
  const { options, operands } = parseCommandLine<Values>(tool, command, args)
  if (actions.length > 1) throw usageError(tool.name, "Cannot mix '-l', '-a', '-c', '-d'")
  const [name, extra] = operands
  if (name === undefined || extra !== undefined) throw usageError(tool.name, 'Expecting one image file name')
  checkObjects(options.object)
  const [action = { type: 'none' } as const] = actions
  await withSession(tool, async (session) => {
    const { imageOpts, forceShare } = options
    const image = await openImage(session, { name, imageOpts, forceShare, writable: action.type !== 'list' })
    await perform(session, image, action)
  })
  return 0
}

async function perform(session: Session, image: OpenImage, action: Action): Promise<void> {
  switch (action.type) {
    case 'list':
      return list(session.tool, image)
    case 'create':
      return create(session, image, action.name)
    case 'apply':
      return apply(session, image, action.name)
    case 'delete':
      return remove(session, image, action.name)
    default:
  }
}

async function list(tool: Tool, image: OpenImage): Promise<void> {
  const { canSnapshot, listSnapshots } = await import('../../global-state/snapshot.js')
  const snapshots = canSnapshot(image.node) ? listSnapshots(image.node) : []
  if (snapshots.length > 0) tool.out(snapshotTable(snapshots))
}

async function create(session: Session, image: OpenImage, name: string): Promise<void> {
  const { createSnapshot } = await import('../../global-state/snapshot.js')
  try {
    await drainedOn(session, image, (main, quiet) => createSnapshot(main, quiet, image.node, { name: cutName(name) }))
  } catch (thrown) {
    const what = `Could not create snapshot '${printable(name)}'`
    throw new ToolError(`${what}: ${-errnoNumber(toBlockError(thrown).code)} (${errnoText(thrown)})`)
  }
}

async function apply(session: Session, image: OpenImage, name: string): Promise<void> {
  const { applySnapshot, canSnapshot } = await import('../../global-state/snapshot.js')
  const what = `Could not apply snapshot '${printable(name)}'`
  if (!canSnapshot(image.node)) throw new ToolError(`${what}: Block driver does not support snapshots`)
  try {
    await drainedOn(session, image, (main, quiet) => applySnapshot(main, quiet, image.node, name))
  } catch (thrown) {
    const { code } = toBlockError(thrown)
    if (code === 'EBUSY') throw new ToolError(`${what}: ${messageText(thrown)}`)
    if (code !== 'ENOENT' && code !== 'ENOTSUP') printError(session.tool, new ToolError(messageText(thrown)))
    throw new ToolError(`${what}: Failed to load snapshot: ${errnoText(thrown)}`)
  }
}

/** By name only: an id that looks like one could be meant to be a name. */
async function remove(session: Session, image: OpenImage, name: string): Promise<void> {
  const { canSnapshot, deleteSnapshot, findSnapshot } = await import('../../global-state/snapshot.js')
  const what = `Could not delete snapshot '${printable(name)}'`
  const found = canSnapshot(image.node) ? findSnapshot(image.node, { name }) : undefined
  if (found === undefined) throw new ToolError(`${what}: snapshot not found`)
  try {
    await drainedOn(session, image, (main, quiet) => deleteSnapshot(main, quiet, image.node, { name, id: found.id }))
  } catch (thrown) {
    throw new ToolError(`${what}: ${messageText(thrown)}`)
  }
}

/** The first bytes of a name, whole characters only. */
function cutName(name: string): string {
  const bytes = new TextEncoder().encode(name)
  if (bytes.byteLength <= MAX_NAME) return name
  return new TextDecoder().decode(bytes.subarray(0, MAX_NAME), { stream: true })
}
