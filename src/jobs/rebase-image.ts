// Giving an overlay another backing file without changing what it shows: what reads differently over the new one is copied into
// the overlay first. It holds the main loop from beginning to end, and the overlay is drained: guests wait.

import { BDRV_BLOCK_ZERO } from '../common/block-status.js'
import { BlockError } from '../common/error.js'
import { BLK_PERM_ALL, BLK_PERM_CONSISTENT_READ, BLK_PERM_WRITE } from '../common/permissions.js'
import { MiB, type Offset } from '../common/units.js'
import { type BlockBackend, createBackend } from '../global-state/backend.js'
import { chainContains } from '../global-state/backing-chain.js'
import { setBacking } from '../global-state/edit/graph-edit.js'
import { changeBackingFile } from '../global-state/image.js'
import type { MainLoop } from '../global-state/main-loop.js'
import type { NodeState } from '../global-state/node-state.js'
import { blockStatusAbove, isAllocated, isAllocatedAbove } from '../io/block-status.js'
import { drainedNodes } from '../io/drained.js'
import { workInOrder } from './ordered-pieces.js'

/** Bytes of one piece, and pieces under way at most. */
const PIECE_BYTES = 2 * MiB
const PIECES = 8
/** Bytes that are compared, and copied, as one. */
const SECTOR = 512

/** The backing file an overlay is to have. */
export interface NewBacking {
  /** The open node; undefined for none. It may stand in the chain already. */
  node: NodeState | undefined
  /** What the image is to say of it. */
  filename: string | undefined
  format: string | undefined
}

/** How to rebase. */
export interface RebaseOptions {
  /** Told how many bytes of how many have been looked at. */
  progress?: (done: Offset, total: Offset) => void
}

/**
 * Makes `backing` the backing file of `top`, in its header and in the graph; its disk stays the same. EINVAL for a file without
 * its format, or a format without a file; ENOSPC where the header is full; ENOTSUP where the driver has no backing files; EPERM
 * where others forbid writing to `top`. Nothing visible has changed where it fails.
 */
export function rebaseImage(
  main: MainLoop,
  top: NodeState,
  backing: NewBacking,
  options: RebaseOptions = {},
): Promise<void> {
  return main.call('rebaseImage', top.environment, async (call) => {
    refuseUnnameable(top, backing)
    const old = top.backing?.node
    const nodes = [top, old, backing.node].filter((node) => node !== undefined)
    const quiet = await drainedNodes(nodes, { signal: call.signal })
    try {
      await copyDifferences(main, top, backing.node, options)
      await changeBackingFile(main, top, backing.filename, backing.format)
      await setBacking(main, quiet, top, backing.node)
    } finally {
      quiet.end()
    }
  })
}

function refuseUnnameable(top: NodeState, { filename, format }: NewBacking): void {
  const where = { node: top.nodeName, op: 'rebase' }
  if (top.definition.changeBackingFile === undefined) {
    throw new BlockError('ENOTSUP', `driver '${top.driver.name}' has no backing file`, where)
  }
  if ((filename === undefined) === (format === undefined)) return
  throw new BlockError('EINVAL', 'a backing file and its format are named together', where)
}

async function copyDifferences(
  main: MainLoop,
  top: NodeState,
  node: NodeState | undefined,
  { progress }: RebaseOptions,
): Promise<void> {
  const total = top.state.length
  progress?.(0, total)
  const old = top.backing?.node
  const roots: BlockBackend[] = []
  // Requests pass in the drained section, which is ours.
  const openRoot = async (at: NodeState, perm: number) => {
    const root = await createBackend(main, top.graph, { node: at, perm, shared: BLK_PERM_ALL, holdWhileDrained: false })
    roots.push(root)
    return root
  }
  try {
    const target = await openRoot(top, BLK_PERM_CONSISTENT_READ | BLK_PERM_WRITE)
    const before = old && (await openRoot(old, BLK_PERM_CONSISTENT_READ))
    const after = node && (await openRoot(node, BLK_PERM_CONSISTENT_READ))
    await workInOrder(doubtfulPieces(top, old, node), PIECES, async ({ offset, bytes }, turn) => {
      const [was, willBe] = [new Uint8Array(bytes), new Uint8Array(bytes)]
      await readDisk(before, offset, was)
      await readDisk(after, offset, willBe)
      await turn
      const behind = offset >= (before?.length ?? 0)
      for (const { start, end } of differences(was, willBe)) {
        if (behind) await target.writeZeroes(offset + start, end - start)
        else await target.write(offset + start, was.subarray(start, end))
      }
      progress?.(offset + bytes, total)
    })
    await target.flush()
  } finally {
    for (const root of roots.reverse()) await root.close(main)
  }
  progress?.(total, total)
}

/** Behind its end a backing file reads as zeroes. */
async function readDisk(root: BlockBackend | undefined, offset: Offset, into: Uint8Array): Promise<void> {
  const bytes = root === undefined ? 0 : Math.min(into.byteLength, root.length - offset)
  if (bytes > 0) await root?.read(offset, into.subarray(0, bytes))
}

interface Piece {
  offset: Offset
  bytes: number
}

/** Where the overlay shows its backing file, less what is surely the same in both. */
async function* doubtfulPieces(
  top: NodeState,
  old: NodeState | undefined,
  node: NodeState | undefined,
): AsyncGenerator<Piece> {
  const total = top.state.length
  // Where the new file is a part of the old chain, only what stands above it there can differ.
  const common = old !== undefined && node !== undefined && chainContains(old, node) ? node : undefined
  for (let offset = 0; offset < total; ) {
    const own = await isAllocated(top, offset, total - offset)
    let known = own.bytes
    let same = own.allocated
    if (!same && common !== undefined && old !== undefined && offset < old.state.length) {
      const above = await isAllocatedAbove(old, common, false, offset, known)
      known = above.bytes
      same = above.depth === 0
    }
    if (!same) {
      const [was, willBe] = [await zeroRun(old, offset, known), await zeroRun(node, offset, known)]
      known = Math.min(was.bytes, willBe.bytes)
      same = was.zero && willBe.zero
    }
    // The end of the old file ends a piece too.
    if (old !== undefined && offset < old.state.length) known = Math.min(known, old.state.length - offset)
    for (let done = 0; !same && done < known; done += PIECE_BYTES) {
      yield { offset: offset + done, bytes: Math.min(PIECE_BYTES, known - done) }
    }
    offset += known
  }
}

async function zeroRun(
  node: NodeState | undefined,
  offset: Offset,
  bytes: number,
): Promise<{ zero: boolean; bytes: number }> {
  if (node === undefined || offset >= node.state.length) return { zero: true, bytes }
  const status = await blockStatusAbove(node, undefined, offset, Math.min(bytes, node.state.length - offset))
  return { zero: (status.bits & BDRV_BLOCK_ZERO) !== 0, bytes: status.bytes }
}

/** Runs of sectors that differ; the buffers are equally long. */
function* differences(a: Uint8Array, b: Uint8Array): Generator<{ start: number; end: number }> {
  let start = -1
  for (let at = 0; at < a.byteLength; at += SECTOR) {
    const same = equalBytes(a, b, at, Math.min(at + SECTOR, a.byteLength))
    if (!same && start < 0) start = at
    if (same && start >= 0) {
      yield { start, end: at }
      start = -1
    }
  }
  if (start >= 0) yield { start, end: a.byteLength }
}

function equalBytes(a: Uint8Array, b: Uint8Array, from: number, to: number): boolean {
  for (let at = from; at < to; at++) if (a[at] !== b[at]) return false
  return true
}
