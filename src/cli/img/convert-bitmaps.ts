// convert --bitmaps: the dirty bitmaps that the source keeps are kept by the target, too.

import type { NodeState } from '../../global-state/node-state.js'
import type { DirtyBitmap } from '../../io/dirty-bitmap.js'
import { bitmapFailed } from '../bitmap-text.js'
import type { OpenImage, Session } from '../session.js'
import { printable, printWarning, type Tool, ToolError } from '../tool.js'

/** Refuses, before the target is touched, what cannot be copied. With `skipBroken` inconsistent bitmaps are left out. */
export async function checkSourceBitmaps(sources: readonly OpenImage[], skipBroken: boolean): Promise<void> {
  const { keepsBitmaps } = await import('../../global-state/bitmaps/stored-bitmaps.js')
  const [source] = sources
  if (source === undefined) return
  if (sources.length > 1) throw new ToolError('Copying bitmaps only possible with single source')
  if (!keepsBitmaps(source.node)) throw new ToolError('Source lacks bitmap support')
  const broken = skipBroken ? undefined : namedBitmaps(source.node).find((bitmap) => bitmap.inconsistent)
  if (broken === undefined) return
  throw new ToolError(`Cannot copy inconsistent bitmap '${printable(broken.name ?? '')}'`, 1, [
    "Try --skip-broken-bitmaps, or use 'blockgraph-img bitmap --remove' to delete it",
  ])
}

/** Refuses a target that keeps no bitmaps. */
export async function checkTargetBitmaps(target: OpenImage): Promise<void> {
  const { keepsBitmaps } = await import('../../global-state/bitmaps/stored-bitmaps.js')
  if (keepsBitmaps(target.node)) return
  throw new ToolError(`Format driver '${target.node.driver.name}' does not support bitmaps`)
}

/** Copies every sound bitmap; one that cannot be filled is not left behind. */
export async function copyBitmaps(session: Session, source: OpenImage, target: OpenImage): Promise<void> {
  const { createDirtyBitmap, enableDirtyBitmap, removeDirtyBitmap } = await import(
    '../../global-state/bitmaps/bitmaps.js'
  )
  const { mergeDirtyBitmap } = await import('../../global-state/bitmaps/bitmap-content.js')
  await session.graph.mainLoop(async (main) => {
    for (const bitmap of soundBitmaps(session.tool, source.node)) {
      const { name } = bitmap
      const said = printable(name ?? '')
      const { granularity } = bitmap.bits
      let copy: DirtyBitmap
      try {
        copy = await createDirtyBitmap(main, target.node, { name, granularity, persistent: true, disabled: true })
      } catch (thrown) {
        throw bitmapFailed(`Failed to create bitmap ${said}`, thrown)
      }
      try {
        mergeDirtyBitmap(main, target.node, copy, [{ node: source.node, bitmap }])
      } catch (thrown) {
        await removeDirtyBitmap(main, target.node, copy)
        throw bitmapFailed(`Failed to populate bitmap ${said}`, thrown)
      }
      if (bitmap.enabled) enableDirtyBitmap(main, target.node, copy)
    }
  }, 'copying bitmaps')
}

function soundBitmaps(tool: Tool, node: NodeState): DirtyBitmap[] {
  const named = namedBitmaps(node)
  for (const { name, inconsistent } of named) {
    if (inconsistent) printWarning(tool, `Skipping inconsistent bitmap '${name ?? ''}'`)
  }
  return named.filter((bitmap) => !bitmap.inconsistent)
}

/** The newest first. */
function namedBitmaps(node: NodeState): DirtyBitmap[] {
  return node.state.bitmaps.filter((bitmap) => bitmap.name !== undefined).reverse()
}
