// Small qcow2 images, written byte by byte from the specification, with what tests want to choose.

import type { ChunkStore } from '../../src/testing/storage/memory-storage.js'

/** What an image is made with. */
export interface Qcow2MakerOptions {
  /** Length of the disk in bytes. */
  size: number
  version?: 2 | 3
  /** 9 by default. */
  clusterBits?: number
  /** Of the width of a refcount; 4 (16 bits) by default. */
  refcountOrder?: number
  lazyRefcounts?: boolean
  extendedL2?: boolean
  externalData?: boolean
  /** Clusters that are counted but used by nothing, behind everything else. */
  leakedClusters?: number
  /** Bits of the autoclear field. */
  autoclear?: bigint
}

/** Writes an image without any data to `store`. */
export function makeQcow2(store: ChunkStore, options: Qcow2MakerOptions): void {
  const { size, version = 3, clusterBits = 9, leakedClusters = 0 } = options
  const refcountOrder = version === 2 ? 4 : (options.refcountOrder ?? 4)
  const cluster = 2 ** clusterBits
  const perBlock = (cluster * 8) / 2 ** refcountOrder
  const l2Entries = cluster / (options.extendedL2 === true ? 16 : 8)
  const l1Size = Math.max(Math.ceil(size / (l2Entries * cluster)), 1)
  const l1Clusters = Math.ceil((l1Size * 8) / cluster)
  // Header, refcount table, refcount blocks, L1 table, leaks.
  let blocks = 1
  while (2 + blocks + l1Clusters + leakedClusters > blocks * perBlock) blocks++
  const l1Offset = (2 + blocks) * cluster
  const used = 2 + blocks + l1Clusters + leakedClusters
  const bytes = new Uint8Array(used * cluster)
  const view = new DataView(bytes.buffer)
  writeHeader(view, options, { version, clusterBits, refcountOrder, l1Size, l1Offset })
  for (let index = 0; index < blocks; index++) view.setBigUint64(cluster + index * 8, BigInt((2 + index) * cluster))
  for (let index = 0; index < used; index++) countOne(view, 2 * cluster, index, 2 ** refcountOrder)
  store.resize(bytes.byteLength)
  store.write(0, bytes)
}

function writeHeader(
  view: DataView,
  options: Qcow2MakerOptions,
  made: { version: number; clusterBits: number; refcountOrder: number; l1Size: number; l1Offset: number },
): void {
  view.setUint32(0, 0x514649fb)
  view.setUint32(4, made.version)
  view.setUint32(20, made.clusterBits)
  view.setBigUint64(24, BigInt(options.size))
  view.setUint32(36, made.l1Size)
  view.setBigUint64(40, BigInt(made.l1Offset))
  view.setBigUint64(48, BigInt(2 ** made.clusterBits))
  view.setUint32(56, 1)
  if (made.version < 3) return
  const incompatible = (options.externalData === true ? 4 : 0) | (options.extendedL2 === true ? 16 : 0)
  view.setBigUint64(72, BigInt(incompatible))
  view.setBigUint64(80, options.lazyRefcounts === true ? 1n : 0n)
  view.setBigUint64(88, options.autoclear ?? 0n)
  view.setUint32(96, made.refcountOrder)
  view.setUint32(100, 104)
}

/** Sets the count of a cluster to 1. All blocks stand in a row from `blocks` on. */
function countOne(view: DataView, blocks: number, cluster: number, bits: number): void {
  const at = blocks * 8 + cluster * bits
  if (bits >= 8) view.setUint8(at / 8 + bits / 8 - 1, 1)
  else view.setUint8(Math.floor(at / 8), view.getUint8(Math.floor(at / 8)) | (1 << (at % 8)))
}
