// A set of bit positions as a radix tree of chunks. A subtree in which all bits are equal is a word ('empty', 'full'), so
// an idle, a sparse and a wholly set bitmap of any length cost next to nothing. Invariant: every chunk knows its count and
// the two maps by which a search skips what holds nothing; no chunk is wholly empty or wholly full.

import { LEAF_BITS, Leaf } from './sparse-leaf.js'
import { nextWithBit, putBit } from './word-bits.js'

const FANOUT = 256

type Tree = 'empty' | 'full' | Leaf | Inner

/** Bits that may be set or clear, in 0 .. 2^45. */
export class SparseBits {
  #root: Tree = 'empty'
  #level = 0

  /** How many bits are set. */
  get count(): number {
    return countOf(this.#root, this.#level)
  }

  /** Sets or clears the bits from `from` to `to` (exclusive). */
  paint(from: number, to: number, value: boolean): void {
    if (from >= to) return
    this.#reach(to)
    this.#root = paint(this.#root, this.#level, from, to, value)
  }

  get(index: number): boolean {
    return this.next(index, index + 1, true) === index
  }

  /** The first bit equal to `value` from `from` on and before `to`; -1 where there is none. */
  next(from: number, to: number, value: boolean): number {
    const known = Math.min(to, span(this.#level))
    const found = from < known ? next(this.#root, this.#level, from, known, value) : -1
    if (found >= 0 || value) return found
    const beyond = Math.max(from, known)
    return beyond < to ? beyond : -1
  }

  /** Adds every bit set in `other`. */
  unite(other: SparseBits): void {
    this.#reach(span(other.#level))
    this.#root = unite(this.#root, this.#level, lift(other.#root, other.#level, this.#level))
  }

  clear(): void {
    this.#root = 'empty'
    this.#level = 0
  }

  copy(): SparseBits {
    const twin = new SparseBits()
    twin.#root = copyTree(this.#root)
    twin.#level = this.#level
    return twin
  }

  /** Copies words into `out`, the first being the one whose first bit is `from`, a multiple of 32. */
  readWords(from: number, out: Uint32Array): void {
    out.fill(0)
    const end = from + out.length * 32
    for (let at = this.next(from, end, true); at >= 0; at = this.next(at, end, true)) {
      const base = at - (at % LEAF_BITS)
      const until = Math.min(base + LEAF_BITS, end)
      const start = Math.max(base, from)
      const leaf = leafAt(this.#root, this.#level, base)
      const target = out.subarray((start - from) / 32, (until - from) / 32)
      if (leaf === 'full') target.fill(0xffff_ffff)
      else target.set(leaf.words.subarray((start - base) / 32, (until - base) / 32))
      at = until
    }
  }

  /** Replaces the words from bit `from` on, a multiple of 32. */
  writeWords(from: number, words: Uint32Array): void {
    const end = from + words.length * 32
    if (from >= end) return
    this.#reach(end)
    this.#root = writeWords(this.#root, this.#level, from, words)
  }

  /** Chunks allocated: the cost of the bitmap, for tests and reports. */
  get chunks(): number {
    return chunksOf(this.#root)
  }

  #reach(end: number): void {
    let level = this.#level
    while (span(level) < end) level += 1
    this.#root = lift(this.#root, this.#level, level)
    this.#level = level
  }
}

/** 256 subtrees of one level. */
class Inner {
  readonly slots: Tree[] = new Array<Tree>(FANOUT).fill('empty')
  /** Slots that hold a set bit; slots that hold a clear one. */
  readonly any = new Uint32Array(FANOUT / 32)
  readonly open = new Uint32Array(FANOUT / 32).fill(0xffff_ffff)
  count = 0

  slot(index: number): Tree {
    return this.slots[index] ?? 'empty'
  }

  put(index: number, tree: Tree, level: number): void {
    this.count += countOf(tree, level) - countOf(this.slot(index), level)
    this.reput(index, tree)
  }

  /** As `put`, where the caller has counted already. */
  reput(index: number, tree: Tree): void {
    this.slots[index] = tree
    putBit(this.any, index, tree !== 'empty')
    putBit(this.open, index, tree !== 'full')
  }
}

function span(level: number): number {
  return LEAF_BITS * FANOUT ** level
}

function countOf(tree: Tree, level: number): number {
  if (tree === 'empty') return 0
  return tree === 'full' ? span(level) : tree.count
}

function materialise(tree: Tree, level: number): Leaf | Inner {
  if (tree instanceof Leaf || tree instanceof Inner) return tree
  if (level === 0) return new Leaf(tree === 'full')
  const inner = new Inner()
  if (tree === 'full') for (let slot = 0; slot < FANOUT; slot++) inner.put(slot, 'full', level - 1)
  return inner
}

function collapse(chunk: Leaf | Inner, level: number): Tree {
  if (chunk.count === 0) return 'empty'
  return chunk.count === span(level) ? 'full' : chunk
}

/** The same bits as a tree of a higher level. */
function lift(tree: Tree, from: number, to: number): Tree {
  let lifted = tree
  for (let level = from + 1; level <= to && lifted !== 'empty'; level++) {
    const inner = new Inner()
    inner.put(0, lifted, level - 1)
    lifted = inner
  }
  return lifted
}

function paint(tree: Tree, level: number, from: number, to: number, value: boolean): Tree {
  const whole = value ? 'full' : 'empty'
  if (tree === whole || (from === 0 && to === span(level))) return whole
  const chunk = materialise(tree, level)
  if (chunk instanceof Leaf) {
    chunk.paint(from, to, value)
    return collapse(chunk, level)
  }
  const width = span(level - 1)
  for (let slot = Math.floor(from / width); slot * width < to; slot++) {
    const base = slot * width
    const old = chunk.slot(slot)
    const before = countOf(old, level - 1)
    const painted = paint(old, level - 1, Math.max(from - base, 0), Math.min(to - base, width), value)
    chunk.count += countOf(painted, level - 1) - before
    chunk.reput(slot, painted)
  }
  return collapse(chunk, level)
}

function next(tree: Tree, level: number, from: number, to: number, value: boolean): number {
  if (tree === 'empty' || tree === 'full') return (tree === 'full') === value ? from : -1
  if (tree instanceof Leaf) return tree.next(from, to, value)
  const width = span(level - 1)
  const map = value ? tree.any : tree.open
  const last = Math.ceil(to / width)
  for (let slot = Math.floor(from / width); slot < last; slot++) {
    slot = nextWithBit(map, slot, last)
    if (slot < 0) return -1
    const base = slot * width
    const found = next(tree.slot(slot), level - 1, Math.max(from - base, 0), Math.min(to - base, width), value)
    if (found >= 0) return base + found
  }
  return -1
}

function unite(tree: Tree, level: number, other: Tree): Tree {
  if (tree === 'full' || other === 'empty') return tree
  if (other === 'full') return 'full'
  if (tree === 'empty') return copyTree(other)
  if (tree instanceof Leaf && other instanceof Leaf) {
    tree.unite(other)
    return collapse(tree, level)
  }
  if (tree instanceof Leaf || other instanceof Leaf) return tree
  for (let slot = nextWithBit(other.any, 0, FANOUT); slot >= 0; slot = nextWithBit(other.any, slot + 1, FANOUT)) {
    const old = tree.slot(slot)
    const before = countOf(old, level - 1)
    const united = unite(old, level - 1, other.slot(slot))
    tree.count += countOf(united, level - 1) - before
    tree.reput(slot, united)
  }
  return collapse(tree, level)
}

function writeWords(tree: Tree, level: number, from: number, words: Uint32Array): Tree {
  const chunk = materialise(tree, level)
  if (chunk instanceof Leaf) {
    chunk.writeWords(from / 32, words)
    return collapse(chunk, level)
  }
  const width = span(level - 1)
  const to = from + words.length * 32
  for (let slot = Math.floor(from / width); slot * width < to; slot++) {
    const start = Math.max(from, slot * width)
    const part = words.subarray((start - from) / 32, (Math.min(to, (slot + 1) * width) - from) / 32)
    const old = chunk.slot(slot)
    const before = countOf(old, level - 1)
    const written = writeWords(old, level - 1, start - slot * width, part)
    chunk.count += countOf(written, level - 1) - before
    chunk.reput(slot, written)
  }
  return collapse(chunk, level)
}

/** The leaf whose first bit is `base`; called where that leaf holds a set bit. */
function leafAt(root: Tree, rootLevel: number, base: number): Leaf | 'full' {
  let tree = root
  let rest = base
  for (let level = rootLevel; tree instanceof Inner; level--) {
    const width = span(level - 1)
    tree = tree.slot(Math.floor(rest / width))
    rest %= width
  }
  return tree instanceof Leaf ? tree : 'full'
}

function copyTree(tree: Tree): Tree {
  if (tree === 'empty' || tree === 'full') return tree
  if (tree instanceof Leaf) return tree.copy()
  const twin = new Inner()
  for (let slot = nextWithBit(tree.any, 0, FANOUT); slot >= 0; slot = nextWithBit(tree.any, slot + 1, FANOUT)) {
    twin.reput(slot, copyTree(tree.slot(slot)))
  }
  twin.count = tree.count
  return twin
}

function chunksOf(tree: Tree): number {
  if (tree === 'empty' || tree === 'full') return 0
  if (tree instanceof Leaf) return 1
  let chunks = 1
  for (const slot of tree.slots) chunks += chunksOf(slot)
  return chunks
}
