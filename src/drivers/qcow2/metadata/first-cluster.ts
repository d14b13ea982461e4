// Replacing what the first cluster says when more than one sector of it changes. A sector is written whole or not at all, and the
// first one decides what the others mean: so it never names bytes that may be half written. The new extensions and backing file
// name stand aside first, behind everything; then the first sector lets a piece that is skipped lead to them; then they are
// written to their place, and the first sector becomes what it is to be. Stopped anywhere, the header is the old or the new one.

import { BlockError } from '../../../common/error.js'
import { BDRV_SECTOR_SIZE } from '../../../common/limits.js'
import { write } from '../../../io/write.js'
import type { Qcow2State } from '../state.js'
import { barrier } from './barrier.js'

/** The first cluster before and after a change. */
export interface FirstClusterChange {
  readonly before: Uint8Array
  readonly after: Uint8Array
  /** The header afterwards, with everything behind its fields from `start` on; undefined where there is no room for that. */
  aside(start: number): Uint8Array | undefined
}

/**
 * Makes the change, and waits until it is durable. Where it fails, the first cluster is as before. One without room to stand aside
 * is written at once: then a crash may show a part of it.
 */
export async function replaceFirstCluster(state: Qcow2State, change: FirstClusterChange): Promise<void> {
  const { before, after } = change
  const changed = changedSectors(before, after)
  const [first] = changed
  if (first === undefined) return await barrier(state)
  const start = Math.max(usedSectors(before), usedSectors(after))
  const moved = changed.length === 1 ? undefined : change.aside(start)
  if (moved !== undefined) return await replaceSectors(state, change, moved, start)
  const end = changed.length === 1 ? first + BDRV_SECTOR_SIZE : after.byteLength
  const from = changed.length === 1 ? first : 0
  await tryHeader(
    state,
    () => put(state, after, from, end),
    () => put(state, before, from, end),
  )
}

async function replaceSectors(
  state: Qcow2State,
  { before, after }: FirstClusterChange,
  moved: Uint8Array,
  start: number,
): Promise<void> {
  await tryHeader(
    state,
    async () => {
      await put(state, moved, start, moved.byteLength)
      await put(state, moved, 0, BDRV_SECTOR_SIZE)
    },
    () => put(state, before, 0, BDRV_SECTOR_SIZE),
  )
  await tryHeader(
    state,
    async () => {
      await put(state, after, BDRV_SECTOR_SIZE, start)
      await put(state, after, 0, BDRV_SECTOR_SIZE)
    },
    async () => {
      await put(state, moved, 0, BDRV_SECTOR_SIZE)
      await put(state, before, BDRV_SECTOR_SIZE, start)
      await put(state, before, 0, BDRV_SECTOR_SIZE)
    },
  )
  try {
    await write(state.file, start, after.slice(start, moved.byteLength))
  } catch (error) {
    // Nothing names those bytes any more.
    if (!(error instanceof BlockError)) throw error
  }
}

/**
 * Runs `act`, which writes to the header. After a failure nobody knows which header the disk has: `undo` writes the old one
 * again. Where that fails as well, nothing more is written to the image until it is opened anew.
 */
export async function tryHeader(
  state: Pick<Qcow2State, 'corrupt'>,
  act: () => Promise<void>,
  undo: () => Promise<void>,
): Promise<void> {
  try {
    await act()
  } catch (error) {
    await attempt(state, undo)
    throw error
  }
}

async function attempt(state: Pick<Qcow2State, 'corrupt'>, undo: () => Promise<void>): Promise<void> {
  try {
    await undo()
  } catch (error) {
    if (!(error instanceof BlockError)) throw error
    state.corrupt = true
  }
}

/** Writes a part of the first cluster, and waits until it is durable. */
async function put(state: Qcow2State, cluster: Uint8Array, from: number, to: number): Promise<void> {
  await write(state.file, from, cluster.slice(from, to))
  await barrier(state)
}

/** Where the sectors begin that differ. */
function changedSectors(before: Uint8Array, after: Uint8Array): number[] {
  const changed: number[] = []
  for (let at = 0; at < after.byteLength; at += BDRV_SECTOR_SIZE) {
    for (let byte = at; byte < at + BDRV_SECTOR_SIZE; byte++) {
      if (before[byte] === after[byte]) continue
      changed.push(at)
      break
    }
  }
  return changed
}

/** Bytes up to the last one that is not 0, in whole sectors. */
function usedSectors(cluster: Uint8Array): number {
  let end = cluster.byteLength
  while (end > 0 && cluster[end - 1] === 0) end--
  return Math.max(1, Math.ceil(end / BDRV_SECTOR_SIZE)) * BDRV_SECTOR_SIZE
}
