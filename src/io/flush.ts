// Flushing: what was written before becomes durable. One flush at a time per node; one that finds the write generation
// unchanged since the last that succeeded skips the driver. Children with a writing edge are flushed after it.

import { BDRV_O_NO_FLUSH } from '../common/open-flags.js'
import { BLK_PERM_WRITE, BLK_PERM_WRITE_UNCHANGED } from '../common/permissions.js'
import type { BlockChild, BlockDriverState } from './block-node.js'
import { MAX_NESTING, nested, nesting, unwound } from './nesting.js'
import { nodeError } from './node-error.js'
import type { Completion } from './node-io.js'
import type { RequestState } from './request-state.js'
import { settleAll } from './settle-all.js'
import { checkOpen } from './stages/check.js'
import { enter, leave } from './stages/track.js'

/** Makes all that was written to the node of `edge`, and is settled, durable. */
export function flush(edge: BlockChild): Completion {
  return flushNode(edge.node)
}

/**
 * Makes all that was written to `node`, and is settled, durable. Does nothing for a read-only node. Fails with ENOMEDIUM for
 * a closed one, else with what the driver, or the first failed child, says; the next flush then tries again.
 */
export function flushNode(node: BlockDriverState): Completion {
  checkOpen(node, 'flush')
  if (node.readOnly) return undefined
  return nesting.depth < MAX_NESTING ? carefulFlush(node) : deepFlush(node)
}

async function carefulFlush(node: BlockDriverState): Promise<void> {
  const { state } = node
  const request = enter(state, 'flush', 0, 0)
  try {
    // A flush that begins from now on covers all that was written before now, so whoever has to wait shares the next one.
    if (state.activeFlush === undefined) await runFlush(node)
    else await nextFlush(node)
  } catch (error) {
    throw nodeError(error, node, 'flush')
  } finally {
    leave(request)
  }
}

/** The flush behind the one under way; one for all who wait. */
function nextFlush(node: BlockDriverState): Promise<void> {
  const { state } = node
  state.queuedFlush ??= runNextFlush(node)
  return state.queuedFlush
}

async function runNextFlush(node: BlockDriverState): Promise<void> {
  const { state } = node
  while (state.activeFlush !== undefined) await state.activeFlush
  state.queuedFlush = undefined
  await runFlush(node)
}

async function runFlush(node: BlockDriverState): Promise<void> {
  const { state } = node
  const finish = beginFlush(state)
  try {
    const generation = state.writeGeneration
    await flushDriver(node, generation)
    await settleAll(node.children.filter(isWriting), (child) => nested(() => flushNode(child.node)))
    // What NO_FLUSH kept from the disk is still owed, should the node be reopened without it.
    if ((node.openFlags & BDRV_O_NO_FLUSH) === 0) {
      state.flushedGeneration = Math.max(generation, state.flushedGeneration)
    }
  } finally {
    finish()
  }
}

/** Makes later flushes wait until the function returned is called. What they wait for never rejects. */
function beginFlush(state: RequestState): () => void {
  let finish: () => void = () => {}
  state.activeFlush = new Promise((resolve) => {
    finish = resolve
  })
  return () => {
    state.activeFlush = undefined
    finish()
  }
}

async function flushDriver(node: BlockDriverState, generation: number): Promise<void> {
  const { io, state } = node
  if (io.flushToOs !== undefined) await nested(() => io.flushToOs?.())
  if ((node.openFlags & BDRV_O_NO_FLUSH) !== 0 || io.flush === undefined) return
  // Generation 0 with nothing written yet is clean as well.
  if (state.flushedGeneration >= generation) return
  await nested(() => io.flush?.())
}

function isWriting(edge: BlockChild): boolean {
  return (edge.perm & (BLK_PERM_WRITE | BLK_PERM_WRITE_UNCHANGED)) !== 0
}

async function deepFlush(node: BlockDriverState): Promise<void> {
  await unwound()
  await flushNode(node)
}
