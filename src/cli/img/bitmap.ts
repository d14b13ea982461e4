// bitmap: adds, removes and changes the dirty bitmaps that an image keeps.

import type { MainLoop } from '../../global-state/main-loop.js'
import type { NodeState } from '../../global-state/node-state.js'
import { bitmapFailed } from '../bitmap-text.js'
import { newCommand, parseCommandLine, repeatedOption } from '../command-line.js'
import {
  checkObjects,
  formatOption,
  type ImageOptionValues,
  imageOptsOption,
  refuseFormatWithImageOpts,
} from '../image-options.js'
import { openImage } from '../open-image.js'
import { withSession } from '../session.js'
import { sizeArgument } from '../sizes.js'
import { printable, type Tool, ToolError } from '../tool.js'

interface Values extends ImageOptionValues {
  granularity?: number
  sourceFile?: string
  sourceFormat?: string
}

type Action = { type: 'add' | 'remove' | 'clear' | 'enable' | 'disable' } | { type: 'merge'; from: string }

/** Runs `bitmap`. The actions happen in the order they are given. */
export async function bitmap(tool: Tool, args: readonly string[]): Promise<number> {
  const actions: Action[] = []
  const command = newCommand('bitmap')
    .option('--add')
    .option('--remove')
    .option('--clear')
    .option('--enable')
    .option('--disable')
    .option('--merge <bitmap>')
    .option('-g, --granularity <size>', '', (text) => sizeArgument('granularity', text))
    .option('-b, --source-file <file>')
    .option('-F, --source-format <fmt>')
    .addOption(formatOption())
    .addOption(imageOptsOption())
    .addOption(repeatedOption('--object <def>'))
  for (const type of ['add', 'remove', 'clear', 'enable', 'disable'] as const) {
    command.on(`option:${type}`, () => actions.push({ type }))
  }
  command.on('option:merge', (from: string) => actions.push({ type: 'merge', from }))
  const { options, operands } = parseCommandLine<Values>(tool, command, args)
  checkObjects(options.object)
  refuseContradictions(options, actions)
  const [name, bitmapName] = operands
  if (name === undefined || bitmapName === undefined || operands.length > 2) {
    throw new ToolError('Expecting filename and bitmap name')
  }
  await withSession(tool, async (session) => {
    const { imageOpts, format, sourceFile, sourceFormat } = options
    refuseFormatWithImageOpts(format, imageOpts)
    const image = await openImage(session, { name, format, imageOpts, writable: true })
    const source =
      sourceFile === undefined ? image : await openImage(session, { name: sourceFile, format: sourceFormat })
    const task = { node: image.node, name: bitmapName, source: source.node, granularity: options.granularity ?? 0 }
    await session.graph.mainLoop(async (main) => {
      for (const action of actions) {
        try {
          await perform(main, task, action)
        } catch (thrown) {
          throw bitmapFailed(`Operation ${action.type} on bitmap ${printable(bitmapName)} failed`, thrown)
        }
      }
    }, `bitmap ${bitmapName} of ${name}`)
  })
  return 0
}

function refuseContradictions(options: Values, actions: readonly Action[]): void {
  const refuse = (fault: boolean, message: string) => {
    if (fault) throw new ToolError(message)
  }
  const has = (type: Action['type']) => actions.some((action) => action.type === type)
  refuse(actions.length === 0, 'Need at least one of --add, --remove, --clear, --enable, --disable, or --merge')
  refuse(options.granularity !== undefined && !has('add'), 'granularity only supported with --add')
  refuse(options.sourceFormat !== undefined && options.sourceFile === undefined, '-F only supported with -b')
  refuse(options.sourceFile !== undefined && !has('merge'), 'Merge bitmap source file only supported with --merge')
}

interface Task {
  node: NodeState
  name: string
  /** The node of the bitmaps to merge from. */
  source: NodeState
  /** In bytes; 0 for the default. */
  granularity: number
}

async function perform(main: MainLoop, task: Task, action: Action): Promise<void> {
  const { node, name, source, granularity } = task
  const bitmaps = await import('../../global-state/bitmaps/bitmaps.js')
  if (action.type === 'add') {
    const bytes = granularity === 0 ? undefined : granularity
    await bitmaps.createDirtyBitmap(main, node, { name, granularity: bytes, persistent: true })
    return
  }
  const found = bitmaps.requireDirtyBitmap(node, name)
  switch (action.type) {
    case 'remove':
      return bitmaps.removeDirtyBitmap(main, node, found)
    case 'enable':
      return bitmaps.enableDirtyBitmap(main, node, found)
    case 'disable':
      return bitmaps.disableDirtyBitmap(main, node, found)
    default:
  }
  const content = await import('../../global-state/bitmaps/bitmap-content.js')
  if (action.type === 'clear') {
    content.clearDirtyBitmap(main, node, found)
  } else if (action.type === 'merge') {
    const from = bitmaps.requireDirtyBitmap(source, action.from)
    content.mergeDirtyBitmap(main, node, found, [{ node: source, bitmap: from }])
  }
}
