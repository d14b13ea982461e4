// Counting what an L1 table leads to: its L2 tables, the clusters these name, and whether their entries are what an entry can
// be (qcow2 specification, "Cluster mapping" and "Extended L2 Entries").

import { BlockError } from '../../../common/error.js'
import { write } from '../../../io/write.js'
import { COMPRESSED_HIGH, ZERO_LOW } from '../format/l2-entry.js'
import { ENTRY_BYTES, MAX_L1_BYTES } from '../format/layout.js'
import { COPIED_HIGH, OFFSET_HIGH_MASK, OFFSET_LOW_MASK, Table64 } from '../format/table.js'
import { type CheckRun, isExternal, readFileAt, readTable, UNREADABLE_FROM } from './check-run.js'
import { countRegion, doubtRegion, hex, hexOfHalves } from './count-region.js'
import { isGuarded } from './guarded-ranges.js'

const RESERVED_L1_HIGH = 0x7f00_0000
const RESERVED_L1_LOW = 0x1ff
const RESERVED_L2_HIGH = 0x3f00_0000
const RESERVED_L2_LOW = 0x1fe

/** Most entries of an L1 table. */
export const MAX_L1_ENTRIES = MAX_L1_BYTES / ENTRY_BYTES

/** The host offset of an entry in full; exact, since its low 9 bits are 0. */
export function wideOffset(high: number, low: number): number {
  return (high & OFFSET_HIGH_MASK) * 0x1_0000_0000 + ((low & OFFSET_LOW_MASK) >>> 0)
}

/**
 * Counts an L1 table and all below it. `active`: it is the one the guest sees, of which fragmentation is told. `written` is the
 * offset for people where it is larger than a safe integer. EIO for a table at no offset of a file.
 */
export async function countMapping(
  run: CheckRun,
  offset: number,
  entries: number,
  active: boolean,
  written = hex(offset),
): Promise<void> {
  if (entries === 0) return
  countRegion(run, offset, entries * ENTRY_BYTES, written)
  if (offset >= UNREADABLE_FROM) {
    run.findings.say(`ERROR: an L1 table at 0x${written} cannot be read`)
    throw new BlockError('EIO', 'an L1 table is at no offset of a file')
  }
  const l1 = await readTable(run, offset, entries)
  for (let index = 0; index < l1.length; index++) {
    const high = l1.high(index)
    const low = l1.low(index)
    if ((high | low) === 0) continue
    await countL2Table(run, high, low, active)
  }
}

async function countL2Table(run: CheckRun, high: number, low: number, active: boolean): Promise<void> {
  const { findings, image } = run
  const { clusterSize } = image.layout
  if ((high & RESERVED_L1_HIGH) !== 0 || (low & RESERVED_L1_LOW) !== 0) {
    findings.corruption(`ERROR found L1 entry with reserved bits set: ${hexOfHalves(high, low)}`)
  }
  const offset = wideOffset(high, low)
  countRegion(run, offset, clusterSize)
  if (offset % clusterSize !== 0) {
    findings.corruption(`ERROR l2_offset=${hex(offset)}: Table is not cluster aligned; L1 entry corrupted`)
  }
  await new L2Walk(run, offset, active).count()
}

/** One L2 table on its way through a check. */
class L2Walk {
  readonly #run: CheckRun
  readonly #offset: number
  readonly #active: boolean
  /** Where the next cluster stands if the guest's clusters are laid out in a row; 0 before the first. */
  #expected = 0
  /** Entries that were changed, by index. */
  readonly #changed: number[] = []

  constructor(run: CheckRun, offset: number, active: boolean) {
    this.#run = run
    this.#offset = offset
    this.#active = active
  }

  async count(): Promise<void> {
    const { image } = this.#run
    const { clusterSize, l2Entries, l2EntryBytes } = image.layout
    if (this.#offset >= this.#run.fileBytes) return
    const table = new Table64(await readFileAt(image, this.#offset, clusterSize))
    for (let index = 0; index < l2Entries; index++) this.#entry(table, index)
    for (const index of this.#changed) {
      const at = index * l2EntryBytes
      await write(image.file, this.#offset + at, table.bytes.subarray(at, at + l2EntryBytes))
    }
  }

  #entry(table: Table64, index: number): void {
    const { extendedL2 } = this.#run.image.layout
    const word = extendedL2 ? index * 2 : index
    const high = table.high(word)
    const low = table.low(word)
    const zeroBits = extendedL2 ? table.high(word + 1) : 0
    const allocatedBits = extendedL2 ? table.low(word + 1) : 0
    if ((high & COMPRESSED_HIGH) !== 0) this.#compressed(index, high, low, (zeroBits | allocatedBits) !== 0)
    else if ((high | low | zeroBits | allocatedBits) !== 0) {
      this.#standard(table, index, high, low, zeroBits, allocatedBits)
    }
  }

  #compressed(index: number, entryHigh: number, low: number, hasBitmap: boolean): void {
    const { findings, image } = this.#run
    const highBits = image.layout.compressedOffsetBits - 32
    const high = (entryHigh & ~COPIED_HIGH) >>> 0
    const upper = (high & (2 ** highBits - 1)) >>> 0
    const offset = upper * 0x1_0000_0000 + low
    const sectors = ((high & 0x3fff_ffff) >>> highBits) + 1
    const bytes = sectors * 512 - (low & 511)
    const written = hexOfHalves(upper, low)
    if (entryHigh !== high) {
      findings.corruption(`ERROR: coffset=0x${written}: copied flag must never be set for compressed clusters`)
    }
    const where = `compressed cluster ${index} with`
    if (isExternal(image)) {
      findings.corruption(`ERROR ${where} data file, entry=0x${hexOfHalves(high, low)}`)
      return
    }
    if (hasBitmap) {
      const entry = hexOfHalves(high, low)
      findings.corruption(`ERROR ${where} non-zero subcluster allocation bitmap, entry=0x${entry}`)
      doubtRegion(this.#run, offset, bytes)
      return
    }
    if (this.#active) {
      findings.fragmentation.allocatedClusters++
      findings.fragmentation.compressedClusters++
      findings.fragmentation.fragmentedClusters++
    }
    countRegion(this.#run, offset, bytes, written)
  }

  #standard(table: Table64, index: number, high: number, low: number, zeroBits: number, allocatedBits: number): void {
    const { findings, image } = this.#run
    const { clusterSize, extendedL2 } = image.layout
    if ((high & RESERVED_L2_HIGH) !== 0 || (low & RESERVED_L2_LOW) !== 0) {
      findings.corruption(`ERROR found l2 entry with reserved bits set: ${hexOfHalves(high, low)}`)
    }
    const offset = wideOffset(high, low)
    const hasHost = offset !== 0 || (isExternal(image) && (high & COPIED_HIGH) !== 0)
    if (!hasHost) {
      if (allocatedBits !== 0) {
        findings.corruption('ERROR: Unallocated cluster has non-zero subcluster allocation map')
      }
      return
    }
    if ((zeroBits & allocatedBits) !== 0) {
      findings.corruption(`ERROR offset=${hex(offset)}: Allocated cluster has corrupted subcluster allocation bitmap`)
    }
    const holdsData = extendedL2 ? allocatedBits !== 0 : (low & ZERO_LOW) === 0
    if (offset % clusterSize !== 0 && this.#misaligned(table, index, offset, holdsData)) return
    if (this.#active) this.#fragmentation(offset)
    if (!isExternal(image)) countRegion(this.#run, offset, clusterSize)
  }

  /** Tells of a cluster between clusters. Where its content is zeroes anyway, a repair drops it: true then. */
  #misaligned(table: Table64, index: number, offset: number, holdsData: boolean): boolean {
    const { findings, image } = this.#run
    const { extendedL2, l2EntryBytes } = image.layout
    const at = this.#offset + index * l2EntryBytes
    const repairs = findings.fixesErrors && !holdsData && !isGuarded(this.#run, 'l2', at, l2EntryBytes)
    const what = holdsData ? 'Data' : 'Preallocated'
    findings.damage(repairs, `offset=${hex(offset)}: ${what} cluster is not properly aligned; L2 entry corrupted.`)
    if (!repairs) return false
    table.set(extendedL2 ? index * 2 : index, 0, extendedL2 ? 0 : ZERO_LOW)
    this.#changed.push(index)
    return true
  }

  #fragmentation(offset: number): void {
    const { fragmentation } = this.#run.findings
    fragmentation.allocatedClusters++
    if (this.#expected !== 0 && offset !== this.#expected) fragmentation.fragmentedClusters++
    this.#expected = offset + this.#run.image.layout.clusterSize
  }
}
