// Committing an overlay: what it holds goes into a layer below, which then reads as the overlay did, and the overlay may be
// emptied. It holds the main loop from beginning to end, and what it works on is drained: guests wait. It stands here, not with
// global state, since it needs a filter of its own in the chain.

import { assert } from '../common/assert.js'
import { BDRV_BLOCK_ALLOCATED, BDRV_BLOCK_ZERO } from '../common/block-status.js'
import { BlockError } from '../common/error.js'
import {
  BLK_PERM_ALL,
  BLK_PERM_CONSISTENT_READ,
  BLK_PERM_RESIZE,
  BLK_PERM_WRITE,
  BLK_PERM_WRITE_UNCHANGED,
  type Permissions,
} from '../common/permissions.js'
import { BDRV_REQ_MAY_UNMAP } from '../common/request.js'
import { GiB, MiB, type Offset } from '../common/units.js'
import { commitTopDriver } from '../drivers/filters/commit-top.js'
import { type BlockBackend, createBackend } from '../global-state/backend.js'
import { chainContains, chainOf, filterOrCowEdge } from '../global-state/backing-chain.js'
import { replaceChild } from '../global-state/edit/graph-edit.js'
import { makeEmpty } from '../global-state/image.js'
import { closeNode } from '../global-state/life/close.js'
import { openNode } from '../global-state/life/open.js'
import { reopenReadOnly } from '../global-state/life/reopen.js'
import type { MainLoop } from '../global-state/main-loop.js'
import { type EdgeState, NodeState } from '../global-state/node-state.js'
import { refuseBlockedOp } from '../global-state/op-blockers.js'
import { backingChainNext, skipFilters } from '../io/block-node.js'
import { blockStatusAbove } from '../io/block-status.js'
import { type DrainedSection, drainedNodes } from '../io/drained.js'
import { workInOrder } from './ordered-pieces.js'

/** Bytes of one piece, and pieces under way at most. */
const PIECE_BYTES = MiB
const PIECES = 16

/** How to commit. */
export interface CommitOptions {
  /** The layer that takes everything, somewhere below; by default the next one. */
  base?: NodeState
  /** Whether `top` is emptied at the end: by default where `base` is the next layer. A driver that cannot is passed over. */
  empty?: boolean
  /** Told how many bytes of how many have been looked at. */
  progress?: (done: Offset, total: Offset) => void
  /** Waited for before `bytes` bytes are copied: a limit of the rate. */
  admit?: (bytes: number) => Promise<void>
}

/**
 * Copies what `top` and the layers between it and the base hold into the base, which grows where it is shorter. When the base
 * is durable `top` is emptied. EINVAL without a backing file, or for a base that is not below; EBUSY where an operation is
 * blocked or a layer between has other users; EACCES where an image cannot be written; EPERM where others forbid writing.
 */
export function commitImage(main: MainLoop, top: NodeState, options: CommitOptions = {}): Promise<void> {
  return main.call('commitImage', top.environment, async (call) => {
    const next = nextLayer(top)
    const base = options.base ?? next
    if (base === undefined || next === undefined) throw refusal(top, 'EINVAL', 'it has no backing file')
    if (base === top || !chainContains(top, base)) {
      throw refusal(top, 'EINVAL', `'${base.nodeName}' is not in its backing chain`)
    }
    const empty = options.empty ?? base === next
    if (empty && top.readOnly) throw refusal(top, 'EACCES', 'it is read-only')
    refuseBlockedOp(top, 'commit-source')
    refuseBlockedOp(base, 'commit-target')
    const edge = edgeTo(top, base)
    const quiet = await drainedNodes([top, base], { signal: call.signal })
    try {
      refuseOtherUsers(top, base)
      const wasReadOnly = base.readOnly
      if (wasReadOnly) await reopenReadOnly(main, quiet, base, false)
      await finish(
        () => commitBelowFilter({ main, quiet, top, base, edge, empty, options }),
        async () => {
          if (wasReadOnly) await reopenReadOnly(main, quiet, base, true)
        },
      )
    } finally {
      quiet.end()
    }
  })
}

interface Commit {
  main: MainLoop
  quiet: DrainedSection
  top: NodeState
  base: NodeState
  /** The link of the chain that leads to `base`. */
  edge: EdgeState
  empty: boolean
  options: CommitOptions
}

/** The chain lets others write to the base while the filter is there. */
async function commitBelowFilter(commit: Commit): Promise<void> {
  const { main, quiet, base, edge, top } = commit
  const filter = await openNode(main, top.graph, { backing: base.nodeName }, { driver: commitTopDriver })
  await finish(
    async () => {
      await replaceChild(main, quiet, edge, filter)
      await finish(
        () => commitThroughRoots(commit, filter),
        () => replaceChild(main, quiet, edge, base),
      )
    },
    () => closeNode(main, filter),
  )
}

async function commitThroughRoots(commit: Commit, filter: NodeState): Promise<void> {
  const { main, top, base, empty } = commit
  const writing = BLK_PERM_CONSISTENT_READ | BLK_PERM_WRITE | BLK_PERM_RESIZE
  const reading = BLK_PERM_CONSISTENT_READ | (empty ? BLK_PERM_WRITE_UNCHANGED : 0)
  const target = await openRoot(main, base, writing)
  await finish(
    async () => {
      const source = await openRoot(main, top, reading)
      await finish(
        () => copyAndEmpty(commit, filter, source, target),
        () => source.close(main),
      )
    },
    () => target.close(main),
  )
}

/** A root whose requests pass in the drained section, which is ours. */
function openRoot(main: MainLoop, node: NodeState, perm: Permissions): Promise<BlockBackend> {
  return createBackend(main, node.graph, { node, perm, shared: BLK_PERM_ALL, holdWhileDrained: false })
}

async function copyAndEmpty(
  commit: Commit,
  filter: NodeState,
  source: BlockBackend,
  target: BlockBackend,
): Promise<void> {
  const { main, top, empty, options } = commit
  if (target.length < source.length) await target.truncate(source.length)
  // What stands above the filter is not the base's.
  await copyAllocated(top, filter, source, target, options)
  // What is dropped from the overlay has to be durable below.
  await target.flush()
  if (empty) {
    const { edge } = source
    assert(edge !== undefined, 'a root that was just opened has a node')
    try {
      await makeEmpty(main, edge)
    } catch (thrown) {
      if (!(thrown instanceof BlockError) || thrown.code !== 'ENOTSUP') throw thrown
    }
    await source.flush()
  }
}

interface Piece {
  offset: Offset
  bytes: number
  zero: boolean
}

/** Reads run at once; writes go in the order of the disk, so that the base grows in it. */
async function copyAllocated(
  top: NodeState,
  below: NodeState,
  source: BlockBackend,
  target: BlockBackend,
  { admit, progress }: CommitOptions,
): Promise<void> {
  const total = source.length
  progress?.(0, total)
  await workInOrder(allocatedPieces(top, below, total), PIECES, async ({ offset, bytes, zero }, turn) => {
    await admit?.(bytes)
    if (zero) {
      await turn
      await target.writeZeroes(offset, bytes, { flags: BDRV_REQ_MAY_UNMAP })
    } else {
      const buffer = new Uint8Array(bytes)
      await source.read(offset, buffer)
      await turn
      await target.write(offset, buffer)
    }
    progress?.(offset + bytes, total)
  })
  progress?.(total, total)
}

async function* allocatedPieces(top: NodeState, below: NodeState, total: Offset): AsyncGenerator<Piece> {
  for (let offset = 0; offset < total; ) {
    const status = await blockStatusAbove(top, below, offset, total - offset)
    const allocated = (status.bits & BDRV_BLOCK_ALLOCATED) !== 0
    const zero = (status.bits & BDRV_BLOCK_ZERO) !== 0
    for (let done = 0; done < status.bytes; ) {
      const bytes = Math.min(status.bytes - done, zero ? GiB : PIECE_BYTES)
      if (allocated) yield { offset: offset + done, bytes, zero }
      done += allocated ? bytes : status.bytes
    }
    offset += status.bytes
  }
}

/** The layer below, filters left out. */
function nextLayer(top: NodeState): NodeState | undefined {
  const next = backingChainNext(skipFilters(top))
  return next instanceof NodeState ? next : undefined
}

function edgeTo(top: NodeState, base: NodeState): EdgeState {
  for (const node of chainOf(top)) {
    const edge = filterOrCowEdge(node)
    if (edge?.node === base) return edge
  }
  throw refusal(top, 'EINVAL', `'${base.nodeName}' is not in its backing chain`)
}

/** Layers between show another disk when the base has changed: nobody but the layer above may see one. */
function refuseOtherUsers(top: NodeState, base: NodeState): void {
  let above: NodeState = top
  for (const node of chainOf(top)) {
    if (node === base) return
    if (node === top) continue
    for (const edge of node.parents) {
      if (edge.parentNode === above) continue
      throw refusal(node, 'EBUSY', `it is in use by ${edge.parent.describe()} (as '${edge.name}')`)
    }
    above = node
  }
}

/** Runs `act`, then `after` whatever happened. The first error is the one that counts. */
async function finish(act: () => Promise<void>, after: () => Promise<void>): Promise<void> {
  try {
    await act()
  } catch (thrown) {
    try {
      await after()
    } catch {
      // What led here is the error to report.
    }
    throw thrown
  }
  await after()
}

function refusal(node: NodeState, code: 'EINVAL' | 'EBUSY' | 'EACCES', message: string): BlockError {
  return new BlockError(code, message, { node: node.nodeName, op: 'commit' })
}
