// Bit 63 of the active tables: set where the refcount of what an entry names is exactly 1, and nowhere else.

import { write } from '../../../io/write.js'
import { COMPRESSED_HIGH } from '../format/l2-entry.js'
import { ENTRY_BYTES } from '../format/layout.js'
import { COPIED_HIGH, Table64 } from '../format/table.js'
import { type CheckRun, isExternal, readFileAt, readTable } from './check-run.js'
import { wideOffset } from './count-mapping.js'
import { hexOfHalves } from './count-region.js'
import { isGuarded } from './guarded-ranges.js'
import type { RefcountBlocks } from './refcount-blocks.js'

/**
 * Compares the flags with the refcounts. Repaired where errors are; where only leaks are to be repaired, when nothing else is
 * wrong: wrong flags then are the traces of a leak.
 */
export async function checkCopiedFlags(run: CheckRun, blocks: RefcountBlocks): Promise<void> {
  const { findings, image, earlier } = run
  const { corruptions, leaks, checkErrors } = findings.counts
  const clean = corruptions === earlier.corruptions && leaks === 0 && checkErrors === 0
  const repairs = findings.fixesErrors || (findings.fixesLeaks && clean)
  const { l1TableOffset, l1Size } = image.header
  const l1 = await readTable(run, l1TableOffset, l1Size)
  for (let index = 0; index < l1.length; index++) {
    const offset = wideOffset(l1.high(index), l1.low(index))
    if (offset === 0) continue
    const count = await refcountAt(run, blocks, offset)
    if (count === undefined) continue
    if ((count === 1) !== isCopied(l1.high(index))) {
      const at = l1TableOffset + index * ENTRY_BYTES
      const fixed = repairs && !isGuarded(run, 'l1', at, ENTRY_BYTES)
      const entry = hexOfHalves(l1.high(index), l1.low(index))
      const text = blocks.text(clusterOf(run, offset))
      findings.damage(fixed, `OFLAG_COPIED L2 cluster: l1_index=${index} l1_entry=${entry} refcount=${text}`)
      if (fixed) await flip(run, l1, index, l1TableOffset)
    }
    if (offset < run.fileBytes) await checkL2Table(run, blocks, offset, repairs)
  }
}

async function checkL2Table(run: CheckRun, blocks: RefcountBlocks, offset: number, repairs: boolean): Promise<void> {
  const { findings, image } = run
  const { clusterSize, l2Entries, extendedL2 } = image.layout
  const table = new Table64(await readFileAt(image, offset, clusterSize))
  const external = isExternal(image)
  for (let index = 0; index < l2Entries; index++) {
    const word = extendedL2 ? index * 2 : index
    const high = table.high(word)
    const low = table.low(word)
    const data = wideOffset(high, low)
    // Host offset 0 with the flag set is right with an external data file, and nothing at all without one.
    if ((high & COMPRESSED_HIGH) !== 0 || data === 0) continue
    const count = external ? 1 : await refcountAt(run, blocks, data)
    if (count === undefined || (count === 1) === isCopied(high)) continue
    const fixed = repairs && !isGuarded(run, 'l2', offset + word * ENTRY_BYTES, ENTRY_BYTES)
    const text = external ? '1' : blocks.text(clusterOf(run, data))
    findings.damage(fixed, `OFLAG_COPIED data cluster: l2_entry=${hexOfHalves(high, low)} refcount=${text}`)
    if (fixed) await flip(run, table, word, offset)
  }
}

async function flip(run: CheckRun, table: Table64, index: number, offset: number): Promise<void> {
  table.set(index, (table.high(index) ^ COPIED_HIGH) >>> 0, table.low(index))
  const at = index * ENTRY_BYTES
  await write(run.image.file, offset + at, table.bytes.subarray(at, at + ENTRY_BYTES))
}

/** Undefined where it cannot be read, which has been told. */
async function refcountAt(run: CheckRun, blocks: RefcountBlocks, offset: number): Promise<number | undefined> {
  try {
    return await blocks.get(clusterOf(run, offset))
  } catch {
    return undefined
  }
}

function clusterOf(run: CheckRun, offset: number): number {
  return Math.floor(offset / run.image.layout.clusterSize)
}

function isCopied(high: number): boolean {
  return (high & COPIED_HIGH) !== 0
}
