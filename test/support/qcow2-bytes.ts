// The bytes of a qcow2 image, its fields by name: for tests that look at images, or damage them.

import { createLayout, type Layout } from '../../src/drivers/qcow2/format/layout.js'

export const COPIED = 1n << 63n
export const COMPRESSED = 1n << 62n

/** The bytes of an image, read and written by what stands there. */
export class ImageBytes {
  bytes: Uint8Array

  constructor(bytes: Uint8Array) {
    this.bytes = bytes
  }

  get layout(): Layout {
    const version = this.get32(4)
    const extended = version === 3 && (this.get64(72) & 16n) !== 0n
    return createLayout(this.get32(20), version === 3 ? this.get32(96) : 4, extended)
  }

  get clusterSize(): number {
    return 2 ** this.get32(20)
  }

  get l1At(): number {
    return Number(this.get64(40))
  }

  get refcountTableAt(): number {
    return Number(this.get64(48))
  }

  get64(at: number): bigint {
    return this.#view().getBigUint64(at)
  }

  get32(at: number): number {
    return this.#view().getUint32(at)
  }

  put64(at: number, value: bigint | number): void {
    this.#reach(at + 8)
    this.#view().setBigUint64(at, BigInt.asUintN(64, BigInt(value)))
  }

  put32(at: number, value: number): void {
    this.#reach(at + 4)
    this.#view().setUint32(at, value)
  }

  put16(at: number, value: number): void {
    this.#reach(at + 2)
    this.#view().setUint16(at, value)
  }

  /** Where the L2 table of an L1 index stands. */
  l2At(l1Index = 0): number {
    return Number(this.get64(this.l1At + l1Index * 8) & 0x00ff_ffff_ffff_fe00n)
  }

  /** Where entry `index` of the first L2 table stands. */
  entryAt(index: number): number {
    return this.l2At() + index * this.layout.l2EntryBytes
  }

  entry(index: number): bigint {
    return this.get64(this.entryAt(index))
  }

  setEntry(index: number, value: bigint): void {
    this.put64(this.entryAt(index), value)
  }

  refcount(cluster: number): bigint {
    const { at, shift, bits } = this.#refcountPlace(cluster)
    if (bits >= 8) {
      let value = 0n
      for (let i = 0; i < bits / 8; i++) value = (value << 8n) | BigInt(this.bytes[at + i] ?? 0)
      return value
    }
    return BigInt(((this.bytes[at] ?? 0) >>> shift) & (2 ** bits - 1))
  }

  setRefcount(cluster: number, value: bigint): void {
    const { at, shift, bits } = this.#refcountPlace(cluster)
    if (bits < 8) {
      const mask = (2 ** bits - 1) << shift
      this.bytes[at] = ((this.bytes[at] ?? 0) & ~mask) | (Number(value) << shift)
      return
    }
    for (let i = 0; i < bits / 8; i++) this.bytes[at + i] = Number((value >> BigInt(bits - 8 * (i + 1))) & 0xffn)
  }

  /** Adds a cluster at the end, counted once; where it stands. */
  addCluster(): number {
    const at = this.bytes.byteLength
    this.resize(at + this.clusterSize)
    this.setRefcount(at / this.clusterSize, 1n)
    return at
  }

  /** Makes the file shorter or longer. */
  resize(bytes: number): void {
    const resized = new Uint8Array(bytes)
    resized.set(this.bytes.subarray(0, bytes))
    this.bytes = resized
  }

  copy(): ImageBytes {
    return new ImageBytes(this.bytes.slice())
  }

  #refcountPlace(cluster: number): { at: number; shift: number; bits: number } {
    const { refcountBlockEntries, refcountBits: bits } = this.layout
    const block = Number(this.get64(this.refcountTableAt + Math.floor(cluster / refcountBlockEntries) * 8))
    const bit = (cluster % refcountBlockEntries) * bits
    return { at: block + Math.floor(bit / 8), shift: bit % 8, bits }
  }

  #reach(bytes: number): void {
    if (bytes > this.bytes.byteLength) this.resize(bytes)
  }

  #view(): DataView {
    return new DataView(this.bytes.buffer, this.bytes.byteOffset, this.bytes.byteLength)
  }
}
