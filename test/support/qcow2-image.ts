// Small qcow2 images, written byte by byte from the specification, for all tests that need one. Layout: header, refcount table,
// refcount blocks, active L1 table; where there is data, one L2 table and the data clusters; last, clusters that nothing uses.

import { COPIED, ImageBytes } from './qcow2-bytes.js'

/** How an image is made. */
export interface HandMadeOptions {
  version?: 2 | 3
  /** 9 by default. */
  clusterBits?: number
  /** Of the width of a refcount; 4 (16 bits) by default. */
  refcountOrder?: number
  /** Data clusters, mapped to the first clusters of the disk: cluster n is filled with the byte n + 1. 8 by default. */
  data?: number
  extendedL2?: boolean
  /** Bytes of the disk; 1024 clusters by default. */
  size?: number
  /** Entries of the L1 table; as many as the disk needs by default. */
  l1Size?: number
  lazyRefcounts?: boolean
  /** Compressed clusters are by zstd. */
  zstd?: boolean
  /** Data stands in a file of its own, which with 'raw' is an image by itself. */
  dataFile?: 'plain' | 'raw'
  /** Clusters that are counted but used by nothing. */
  leakedClusters?: number
  /** More bits of the autoclear field. */
  autoclear?: bigint
}

interface Places {
  blocks: number
  tableClusters: number
  l1Size: number
  /** In clusters from the start of the file. */
  l1: number
  used: number
}

/** An image by `options`, with data in its first guest clusters. */
export function handMadeImage(options: HandMadeOptions = {}): ImageBytes {
  const { clusterBits = 9, data = 8 } = options
  const clusterSize = 2 ** clusterBits
  const places = placesOf(options)
  const { blocks, tableClusters, l1, used } = places
  const image = new ImageBytes(new Uint8Array(used * clusterSize))
  putHeader(image, options, places)
  for (let index = 0; index < blocks; index++) {
    image.put64(clusterSize + index * 8, (1 + tableClusters + index) * clusterSize)
  }
  for (let cluster = 0; cluster < used; cluster++) image.setRefcount(cluster, 1n)
  if (data > 0) putData(image, l1 + Math.ceil((places.l1Size * 8) / clusterSize), data)
  return image
}

/** An image of a disk of `size` bytes with nothing in it. */
export function emptyImage(size: number, options: HandMadeOptions = {}): Uint8Array {
  return handMadeImage({ ...options, size, data: 0 }).bytes
}

function placesOf(options: HandMadeOptions): Places {
  const { clusterBits = 9, data = 8, leakedClusters = 0, version = 3 } = options
  const clusterSize = 2 ** clusterBits
  const refcountBits = 2 ** (version === 2 ? 4 : (options.refcountOrder ?? 4))
  const l2Entries = clusterSize / (options.extendedL2 === true ? 16 : 8)
  const { size = 1024 * clusterSize } = options
  const l1Size = options.l1Size ?? Math.ceil(size / (l2Entries * clusterSize))
  const others = 1 + Math.ceil((l1Size * 8) / clusterSize) + (data > 0 ? 1 + data : 0) + leakedClusters
  const perBlock = (clusterSize * 8) / refcountBits
  let [blocks, tableClusters] = [1, 1]
  while (others + blocks + tableClusters > blocks * perBlock) {
    blocks++
    tableClusters = Math.ceil((blocks * 8) / clusterSize)
  }
  return { blocks, tableClusters, l1Size, l1: 1 + tableClusters + blocks, used: others + blocks + tableClusters }
}

function putHeader(image: ImageBytes, options: HandMadeOptions, { tableClusters, l1Size, l1 }: Places): void {
  const { clusterBits = 9, version = 3, refcountOrder = 4, dataFile } = options
  const clusterSize = 2 ** clusterBits
  image.put32(0, 0x514649fb)
  image.put32(4, version)
  image.put32(20, clusterBits)
  image.put64(24, options.size ?? 1024 * clusterSize)
  image.put32(36, l1Size)
  image.put64(40, l1 * clusterSize)
  image.put64(48, clusterSize)
  image.put32(56, tableClusters)
  if (version === 2) return
  const incompatible =
    (dataFile === undefined ? 0 : 4) | (options.zstd === true ? 8 : 0) | (options.extendedL2 === true ? 16 : 0)
  image.put64(72, incompatible)
  image.put64(80, options.lazyRefcounts === true ? 1 : 0)
  image.put64(88, (options.autoclear ?? 0n) | (dataFile === 'raw' ? 2n : 0n))
  image.put32(96, refcountOrder)
  image.put32(100, 112)
  image.bytes[104] = options.zstd === true ? 1 : 0
  if (dataFile === undefined) return
  // The name of the data file: 'data'. What follows is zeroes, which end the extensions.
  image.put32(112, 0x44415441)
  image.put32(116, 4)
  image.put32(120, 0x64617461)
}

/** One L2 table in cluster `table`, and the data behind it. */
function putData(image: ImageBytes, table: number, data: number): void {
  const { clusterSize } = image
  const { extendedL2 } = image.layout
  image.put64(image.l1At, COPIED | BigInt(table * clusterSize))
  for (let index = 0; index < data; index++) {
    const offset = (table + 1 + index) * clusterSize
    image.setEntry(index, COPIED | BigInt(offset))
    if (extendedL2) image.put64(image.entryAt(index) + 8, 0xffff_ffff)
    image.bytes.fill(index + 1, offset, offset + clusterSize)
  }
}
