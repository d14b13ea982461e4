// Operations on dirty bitmaps as data: all of a list happen or none. Each is applied when prepared, so that later ones of
// the list see it, and taken back in reverse order by an abort.

import type { BlockDriverState } from '../../io/block-node.js'
import type { DirtyBitmap } from '../../io/dirty-bitmap.js'
import type { PreparedChange } from '../driver.js'
import type { MainLoop } from '../main-loop.js'
import { clearDirtyBitmap, mergeDirtyBitmap, restoreDirtyBitmap } from './bitmap-content.js'
import {
  addDirtyBitmap,
  BDRV_BITMAP_BUSY,
  BDRV_BITMAP_RO,
  checkDirtyBitmap,
  defaultBitmapGranularity,
  disableDirtyBitmap,
  enableDirtyBitmap,
  releaseDirtyBitmap,
  requireDirtyBitmap,
  setBitmapBusy,
  setBitmapSkipStore,
} from './bitmaps.js'

/** A bitmap by node and name. */
export interface BitmapName {
  node: string
  name: string
}

/** One step of a transaction. */
export type BitmapAction =
  | ({ type: 'add'; granularity?: number; persistent?: boolean; disabled?: boolean } & BitmapName)
  | ({ type: 'remove' | 'clear' | 'enable' | 'disable' } & BitmapName)
  | ({ type: 'merge'; sources: readonly BitmapName[] } & BitmapName)

/** Where nodes are looked up: a graph. */
export interface NodeLookup {
  node(name: string): BlockDriverState
}

/** Does all of `actions`, or none and rejects with what the first that failed threw. */
export async function runBitmapTransaction(
  main: MainLoop,
  graph: NodeLookup,
  actions: readonly BitmapAction[],
): Promise<void> {
  const prepared = await prepareBitmapActions(main, graph, actions)
  prepared.commit()
}

/**
 * Applies `actions` in order; they become final by `commit` and are undone by `abort`, to be called in the same section. Where
 * one fails, those before it are undone and its error is thrown.
 */
export async function prepareBitmapActions(
  main: MainLoop,
  graph: NodeLookup,
  actions: readonly BitmapAction[],
): Promise<PreparedChange> {
  main.check('prepareBitmapActions')
  const granularities = new Map<BitmapAction, number>()
  for (const action of actions) {
    if (action.type !== 'add') continue
    granularities.set(action, action.granularity ?? (await defaultBitmapGranularity(graph.node(action.node))))
  }
  const done: PreparedChange[] = []
  const abort = () => {
    for (const step of done.reverse()) step.abort()
  }
  try {
    for (const action of actions) done.push(apply(main, graph, action, granularities.get(action) ?? 0))
  } catch (error) {
    abort()
    throw error
  }
  return {
    commit: () => {
      for (const step of done) step.commit()
    },
    abort,
  }
}

function apply(main: MainLoop, graph: NodeLookup, action: BitmapAction, granularity: number): PreparedChange {
  const node = graph.node(action.node)
  if (action.type === 'add') {
    const bitmap = addDirtyBitmap(main, node, { ...action, granularity })
    return { commit: nothing, abort: () => releaseDirtyBitmap(main, node, bitmap) }
  }
  const bitmap = requireDirtyBitmap(node, action.name)
  switch (action.type) {
    case 'remove':
      return applyRemove(main, node, bitmap)
    case 'clear': {
      const backup = clearDirtyBitmap(main, node, bitmap)
      return { commit: nothing, abort: () => restoreDirtyBitmap(main, node, bitmap, backup) }
    }
    case 'merge': {
      const sources = action.sources.map((source) => {
        const from = graph.node(source.node)
        return { node: from, bitmap: requireDirtyBitmap(from, source.name) }
      })
      const backup = mergeDirtyBitmap(main, node, bitmap, sources)
      return { commit: nothing, abort: () => restoreDirtyBitmap(main, node, bitmap, backup) }
    }
    default:
      return applyRecording(main, node, bitmap, action.type === 'enable')
  }
}

/** The bitmap goes at commit only: until then it records, so that an abort finds it whole. */
function applyRemove(main: MainLoop, node: BlockDriverState, bitmap: DirtyBitmap): PreparedChange {
  checkDirtyBitmap(node, bitmap, BDRV_BITMAP_BUSY | BDRV_BITMAP_RO)
  const skipped = bitmap.skipStore
  setBitmapBusy(main, node, bitmap, true)
  setBitmapSkipStore(main, node, bitmap, true)
  return {
    commit: () => {
      setBitmapBusy(main, node, bitmap, false)
      releaseDirtyBitmap(main, node, bitmap)
    },
    abort: () => {
      setBitmapBusy(main, node, bitmap, false)
      setBitmapSkipStore(main, node, bitmap, skipped)
    },
  }
}

function applyRecording(main: MainLoop, node: BlockDriverState, bitmap: DirtyBitmap, enable: boolean): PreparedChange {
  const before = bitmap.enabled
  const act = enable ? enableDirtyBitmap : disableDirtyBitmap
  act(main, node, bitmap)
  const undo = before ? enableDirtyBitmap : disableDirtyBitmap
  return { commit: nothing, abort: () => undo(main, node, bitmap) }
}

function nothing(): void {}
