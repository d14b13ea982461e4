// A second opinion on qcow2 images: counts every reference from the bytes alone, by the specification, sharing no code with the
// driver. Reports what is dangerous (a count too low, a copied flag on a shared cluster, an impossible place) and what is leaked.

/** What was found. */
export interface Inspection {
  problems: string[]
  leaks: number
  /** The image says that its counts may be wrong. They were looked at all the same, unless they are lazy. */
  dirty: boolean
}

const OFFSET_MASK = 0x00ff_ffff_ffff_fe00n
const COPIED = 1n << 63n
const COMPRESSED = 1n << 62n
const DIRTY = 1n
const CORRUPT = 2n
/** Of the compatible features. */
const LAZY_REFCOUNTS = 1n
const EXTERNAL_DATA = 4n
const EXTENDED_L2 = 16n

/** Looks at all of an image. Leaks are 0 unless they are to be counted. */
export function inspectQcow2(bytes: Uint8Array, countLeaks = true): Inspection {
  return new Inspector(bytes, countLeaks).run()
}

class Inspector {
  readonly #bytes: Uint8Array
  readonly #view: DataView
  readonly #counted = new Map<number, number>()
  readonly #problems: string[] = []
  readonly #copied: { cluster: number; what: string }[] = []
  /** Offsets of refcount blocks. */
  readonly #blocks: number[] = []
  readonly #version: number
  readonly #clusterSize: number
  readonly #incompatible: bigint
  readonly #refcountOrder: number

  readonly #countLeaks: boolean

  constructor(bytes: Uint8Array, countLeaks: boolean) {
    this.#bytes = bytes
    this.#countLeaks = countLeaks
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    this.#version = this.#u32(4)
    this.#clusterSize = 2 ** this.#u32(20)
    this.#incompatible = this.#version >= 3 ? this.#u64(72) : 0n
    this.#refcountOrder = this.#version >= 3 ? this.#u32(96) : 4
  }

  run(): Inspection {
    if (this.#u32(0) !== 0x514649fb) return { problems: ['no qcow2 header'], leaks: 0, dirty: false }
    const dirty = (this.#incompatible & DIRTY) !== 0n
    const postponed = dirty && (this.#u64(80) & LAZY_REFCOUNTS) !== 0n
    if ((this.#incompatible & CORRUPT) !== 0n) this.#problems.push('the corrupt bit is set')
    this.#reference(0, this.#clusterSize)
    this.#countTables()
    const leaks = postponed ? 0 : this.#compare()
    return { problems: this.#problems, leaks, dirty }
  }

  #countTables(): void {
    const refcountTable = Number(this.#u64(48))
    const tableBytes = this.#u32(56) * this.#clusterSize
    this.#reference(refcountTable, tableBytes)
    for (let at = 0; at < tableBytes; at += 8) {
      const block = Number(this.#u64(refcountTable + at) & OFFSET_MASK)
      this.#blocks.push(block)
      if (block !== 0) this.#table(block, `refcount block ${at / 8}`)
    }
    this.#l1(Number(this.#u64(40)), this.#u32(36), true)
    const snapshots = this.#u32(60)
    if (snapshots > 0) this.#snapshots(Number(this.#u64(64)), snapshots)
    if (this.#version >= 3 && (this.#u64(88) & 1n) !== 0n) this.#bitmaps()
  }

  #l1(offset: number, entries: number, active: boolean): void {
    if (entries > 0) this.#table(offset, active ? 'L1 table' : 'L1 table of a snapshot', entries * 8)
    for (let index = 0; index < entries; index++) {
      const entry = this.#u64(offset + index * 8)
      const l2 = Number(entry & OFFSET_MASK)
      if (l2 === 0) continue
      if (!this.#table(l2, `L2 table ${index}`)) continue
      if (active && (entry & COPIED) !== 0n)
        this.#copied.push({ cluster: l2 / this.#clusterSize, what: `L2 table ${index}` })
      this.#l2(l2, index, active)
    }
  }

  #l2(offset: number, l1Index: number, active: boolean): void {
    const entryBytes = (this.#incompatible & EXTENDED_L2) !== 0n ? 16 : 8
    for (let at = 0; at < this.#clusterSize; at += entryBytes) {
      const entry = this.#u64(offset + at)
      const what = `L2 entry ${l1Index}/${at / entryBytes}`
      if ((entry & COMPRESSED) !== 0n) {
        this.#compressed(entry)
        continue
      }
      const place = Number(entry & OFFSET_MASK)
      if (place === 0 || (this.#incompatible & EXTERNAL_DATA) !== 0n) continue
      if (place % this.#clusterSize !== 0) {
        this.#problems.push(`${what} names ${place}, which is not aligned`)
        continue
      }
      this.#reference(place, this.#clusterSize)
      if (active && (entry & COPIED) !== 0n) this.#copied.push({ cluster: place / this.#clusterSize, what })
    }
  }

  #compressed(entry: bigint): void {
    const offsetBits = 62n - BigInt(Math.log2(this.#clusterSize) - 8)
    const offset = Number(entry & ((1n << offsetBits) - 1n))
    const sectors = Number((entry & ~(3n << 62n)) >> offsetBits) + 1
    const end = Math.floor(offset / 512) * 512 + sectors * 512
    this.#reference(offset, end - offset)
  }

  #snapshots(table: number, count: number): void {
    let at = table
    for (let index = 0; index < count; index++) {
      this.#l1(Number(this.#u64(at)), this.#u32(at + 8), false)
      const idBytes = this.#view.getUint16(at + 12)
      const nameBytes = this.#view.getUint16(at + 14)
      const extra = this.#u32(at + 36)
      at += Math.ceil((40 + extra + idBytes + nameBytes) / 8) * 8
    }
    this.#table(table, 'snapshot table', at - table)
  }

  #bitmaps(): void {
    let at = this.#u32(100)
    while (this.#u32(at) !== 0 && this.#u32(at) !== 0x23852875) at += 8 + Math.ceil(this.#u32(at + 4) / 8) * 8
    if (this.#u32(at) === 0) return
    const count = this.#u32(at + 8)
    const size = Number(this.#u64(at + 16))
    const directory = Number(this.#u64(at + 24))
    this.#table(directory, 'bitmap directory', size)
    let entry = directory
    for (let index = 0; index < count; index++) {
      const table = Number(this.#u64(entry))
      const entries = this.#u32(entry + 8)
      if (entries > 0) this.#table(table, `bitmap table ${index}`, entries * 8)
      for (let cell = 0; cell < entries; cell++) {
        const place = Number(this.#u64(table + cell * 8) & OFFSET_MASK)
        if (place !== 0) this.#table(place, `bitmap ${index}, cluster ${cell}`)
      }
      const nameBytes = this.#view.getUint16(entry + 18)
      entry += Math.ceil((24 + this.#u32(entry + 20) + nameBytes) / 8) * 8
    }
  }

  /** Counts a table; false where it cannot be one. */
  #table(offset: number, what: string, bytes = this.#clusterSize): boolean {
    if (offset % this.#clusterSize !== 0 || offset === 0) {
      this.#problems.push(`${what} is at ${offset}`)
      return false
    }
    this.#reference(offset, bytes)
    return true
  }

  #reference(offset: number, bytes: number): void {
    const last = Math.floor((offset + bytes - 1) / this.#clusterSize)
    for (let cluster = Math.floor(offset / this.#clusterSize); cluster <= last; cluster++) {
      this.#counted.set(cluster, (this.#counted.get(cluster) ?? 0) + 1)
    }
  }

  /** Compares counts; the leaks. */
  #compare(): number {
    for (const [cluster, counted] of this.#counted) {
      const stored = this.#stored(cluster)
      if (stored < counted) this.#problems.push(`cluster ${cluster} is used ${counted} times and counted ${stored}`)
    }
    for (const { cluster, what } of this.#copied) {
      const counted = this.#counted.get(cluster) ?? 0
      if (counted > 1)
        this.#problems.push(`${what} is flagged as copied, and its cluster ${cluster} is used ${counted} times`)
    }
    return this.#countLeaks ? this.#leaks() : 0
  }

  #leaks(): number {
    let leaks = 0
    const clusters = Math.ceil(this.#bytes.byteLength / this.#clusterSize)
    for (let cluster = 0; cluster < clusters; cluster++) {
      const stored = this.#stored(cluster)
      if (stored > 0 && stored > (this.#counted.get(cluster) ?? 0)) leaks++
    }
    return leaks
  }

  #stored(cluster: number): number {
    const bits = 2 ** this.#refcountOrder
    const perBlock = (this.#clusterSize * 8) / bits
    const block = this.#blocks[Math.floor(cluster / perBlock)] ?? 0
    if (block === 0) return 0
    const bit = (cluster % perBlock) * bits
    const at = block + Math.floor(bit / 8)
    // Counts beyond 2^32 are as large as any.
    if (bits === 64) return this.#u32(at) === 0 ? this.#u32(at + 4) : 2 ** 32
    if (bits === 32) return this.#u32(at)
    if (at + 2 > this.#bytes.byteLength) return 0
    if (bits === 16) return this.#view.getUint16(at)
    return ((this.#bytes[at] ?? 0) >>> (bit % 8)) & (2 ** bits - 1)
  }

  /** What lies behind the end is zero. */
  #u32(at: number): number {
    return at + 4 > this.#bytes.byteLength ? 0 : this.#view.getUint32(at)
  }

  #u64(at: number): bigint {
    return at + 8 > this.#bytes.byteLength ? 0n : this.#view.getBigUint64(at)
  }
}
