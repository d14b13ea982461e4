// The backing chain: walking it, finding base and overlay, and freezing its links while a job relies on them,
// and looking for what is above and below.

import { assert } from '../common/assert.js'
import { BlockError } from '../common/error.js'
import { pathCombine, pathHasProtocol } from '../common/filename.js'
import { backingChainNext, filterOrCowChild } from '../io/block-node.js'
import type { MainLoop } from './main-loop.js'
import { exactFilename, nodeFilename } from './node-filename.js'
import { EdgeState, NodeState } from './node-state.js'

/** The nodes from `top` down, filters included, along filtered and COW links. */
export function* chainOf(top: NodeState): Generator<NodeState> {
  for (let node: NodeState | undefined = top; node !== undefined; node = filterOrCowEdge(node)?.node) yield node
}

/** The filtered or COW edge of `node`. */
export function filterOrCowEdge(node: NodeState): EdgeState | undefined {
  const child = filterOrCowChild(node)
  return child instanceof EdgeState ? child : undefined
}

/** Whether `base` is `top` or in its chain. */
export function chainContains(top: NodeState, base: NodeState): boolean {
  for (const node of chainOf(top)) if (node === base) return true
  return false
}

/** The first node above `node` in the chain of `active` that is no filter; with `node` undefined, the bottom of the chain. */
export function findOverlay(active: NodeState, node: NodeState | undefined): NodeState | undefined {
  let overlay: NodeState | undefined
  for (const at of chainOf(active)) {
    if (at === node) return overlay
    if (at.driver.kind !== 'filter') overlay = at
  }
  return node === undefined ? overlay : undefined
}

/** The bottom layer of the chain, filters left out. */
export function findBase(top: NodeState): NodeState {
  let base = top
  for (let next = backingChainNext(base); next instanceof NodeState; next = backingChainNext(base)) base = next
  return base
}

/**
 * The layer below `top` that `filename` names. A plain path is looked at from the folder of the image that has the layer for
 * its backing file; `canonical` makes names of one file alike, as far as the host can tell.
 */
export function findBackingImage(
  top: NodeState,
  filename: string,
  canonical: (path: string) => string = (path) => path,
): NodeState | undefined {
  let layer = top
  for (let next = backingChainNext(layer); next instanceof NodeState; next = backingChainNext(layer)) {
    if (namesFile(filename, exactFilename(layer) ?? '', nodeFilename(next), canonical)) return next
    layer = next
  }
  return undefined
}

function namesFile(filename: string, from: string, name: string, canonical: (path: string) => string): boolean {
  if (filename === name) return true
  if (pathHasProtocol(filename) || pathHasProtocol(name)) return false
  return canonical(pathCombine(from, filename)) === canonical(name)
}

/** The number of layers that store data, filters left out. */
export function chainDepth(top: NodeState): number {
  let depth = 0
  for (const node of chainOf(top)) if (node.driver.kind !== 'filter') depth += 1
  return depth
}

/** The edges from `top` down to `base` (all of them where it is undefined). */
function* chainEdges(top: NodeState, base: NodeState | undefined): Generator<EdgeState> {
  for (const node of chainOf(top)) {
    if (node === base) return
    const edge = filterOrCowEdge(node)
    if (edge !== undefined) yield edge
  }
}

/**
 * Freezes the links from `top` to `base`: none of them is replaced or detached until they are unfrozen. EPERM, nothing
 * changed, where one is frozen already or a node may never be. One owner at a time; there is no count.
 */
export function freezeBackingChain(main: MainLoop, top: NodeState, base?: NodeState): void {
  main.check('freezeBackingChain', top.environment)
  assert(base === undefined || chainContains(top, base), `'${base?.nodeName}' is not in the chain of '${top.nodeName}'`)
  refuseFrozenChain(top, base)
  for (const edge of chainEdges(top, base)) {
    if (edge.node.definition.neverFreeze === true) {
      throw new BlockError('EPERM', `the link to node '${edge.node.nodeName}' can never be frozen`, {
        node: edge.parentNode?.nodeName,
        op: 'freeze',
      })
    }
  }
  for (const edge of chainEdges(top, base)) edge.frozen = true
}

/** Undoes {@link freezeBackingChain}; all links must be frozen. */
export function unfreezeBackingChain(main: MainLoop, top: NodeState, base?: NodeState): void {
  main.check('unfreezeBackingChain', top.environment)
  for (const edge of chainEdges(top, base))
    assert(edge.frozen, `the link to node '${edge.node.nodeName}' is not frozen`)
  for (const edge of chainEdges(top, base)) edge.frozen = false
}

/** EPERM naming the first frozen link between `top` and `base`. */
export function refuseFrozenChain(top: NodeState, base?: NodeState): void {
  for (const edge of chainEdges(top, base)) {
    if (!edge.frozen) continue
    throw new BlockError('EPERM', `the link '${edge.name}' to node '${edge.node.nodeName}' is frozen`, {
      node: edge.parentNode?.nodeName,
      op: 'freeze',
    })
  }
}
