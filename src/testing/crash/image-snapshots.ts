// Internal snapshots of an image under test: taking, applying, deleting and reading them through the public interface.

import type { MainLoop } from '../../global-state/main-loop.js'
import {
  applySnapshot,
  createSnapshot,
  deleteSnapshot,
  listSnapshots,
  loadSnapshot,
} from '../../global-state/snapshot.js'
import { type DrainedSection, withDrained } from '../../io/drained.js'
import type { ChunkStore } from '../storage/memory-storage.js'
import { type CrashDisk, type CrashTarget, closeCrashDisk, openCrashDisk, readDisk } from './crash-target.js'

/** What a snapshot holds. */
export interface FoundSnapshot {
  /** Length of the disk when it was taken, in bytes. */
  length: number
  /** As much of it as the disk is long now. */
  content: Uint8Array
}

/** Takes a snapshot called `name`. */
export function takeSnapshot(disk: CrashDisk, name: string): Promise<void> {
  return onQuietDisk(disk, (main, quiet) => createSnapshot(main, quiet, disk.node, { name }))
}

/** Makes the disk what it was. */
export function revertToSnapshot(disk: CrashDisk, name: string): Promise<void> {
  return onQuietDisk(disk, (main, quiet) => applySnapshot(main, quiet, disk.node, { name }))
}

/** Deletes a snapshot. */
export function dropSnapshot(disk: CrashDisk, name: string): Promise<void> {
  return onQuietDisk(disk, (main, quiet) => deleteSnapshot(main, quiet, disk.node, { name }))
}

/** All snapshots by name. `disk` is open on `stores`, and has written out what it knows; each snapshot is read beside it. */
export async function readSnapshots(
  target: CrashTarget,
  disk: CrashDisk,
  stores: ReadonlyMap<string, ChunkStore>,
): Promise<ReadonlyMap<string, FoundSnapshot>> {
  const found = new Map<string, FoundSnapshot>()
  for (const { name, diskSize } of listSnapshots(disk.node)) {
    const beside = await openCrashDisk(target, stores, { readOnly: true })
    try {
      await onQuietDisk(beside, (main, quiet) => loadSnapshot(main, quiet, beside.node, { name }))
      const content = await readDisk(beside)
      const length = diskSize ?? content.byteLength
      found.set(name, { length, content: content.subarray(0, length) })
    } finally {
      await closeCrashDisk(beside)
    }
  }
  return found
}

function onQuietDisk(
  { graph, node }: CrashDisk,
  act: (main: MainLoop, quiet: DrainedSection) => Promise<void>,
): Promise<void> {
  return graph.mainLoop((main) => withDrained([node], (quiet) => act(main, quiet)), 'snapshots of the image under test')
}
