// Snapshots inside a qcow2 image as the crash harness takes, applies, removes and reads them.

import { qcow2Driver } from '../../src/drivers/qcow2/index.js'
import { guest } from '../../src/drivers/qcow2/layout.js'
import { readGuest } from '../../src/drivers/qcow2/read.js'
import { closeNode } from '../../src/global-state/life/close.js'
import { openNode } from '../../src/global-state/life/open.js'
import {
  applySnapshot,
  createSnapshot,
  deleteSnapshot,
  findSnapshot,
  listSnapshots,
  loadSnapshot,
} from '../../src/global-state/snapshot.js'
import { stateOf } from '../../src/global-state/state-of.js'
import { withDrained } from '../../src/io/drained.js'
import { flushNode } from '../../src/io/flush.js'
import type { CrashDisk, NodeOptions, SnapshotDoor } from '../../src/testing/crash/crash-target.js'

/** The door to the snapshots of a `qcow2` node; `options` are those of a second node over the same storages. */
export function snapshotDoor(options: (disk: CrashDisk) => NodeOptions): SnapshotDoor {
  return {
    create: ({ graph, node }, name) =>
      graph.mainLoop((main) => withDrained([node], (quiet) => createSnapshot(main, quiet, node, { name }))),
    apply: ({ graph, node }, name) =>
      graph.mainLoop((main) => withDrained([node], (quiet) => applySnapshot(main, quiet, node, { name }))),
    remove: ({ graph, node }, name) =>
      graph.mainLoop((main) => withDrained([node], (quiet) => deleteSnapshot(main, quiet, node, { name }))),
    list: async ({ node }) => listSnapshots(node).map(({ name }) => name),
    async read(disk, name) {
      const { graph, node } = disk
      const length = findSnapshot(node, { name })?.diskSize ?? 0
      await flushNode(node)
      return graph.mainLoop(async (main) => {
        const other = await openNode(main, graph, { ...options(disk), 'read-only': true })
        try {
          await withDrained([other], (quiet) => loadSnapshot(main, quiet, other, { name }))
          const content = new Uint8Array(length)
          // Past the driver's door: the snapshot may be of a longer disk.
          await readGuest(stateOf(other, qcow2Driver), guest(0), content)
          return content
        } finally {
          await closeNode(main, other)
        }
      })
    },
  }
}
