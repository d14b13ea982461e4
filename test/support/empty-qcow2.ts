// Empty qcow2 images of every kind, made from the codecs of the driver: header, refcount table, refcount blocks, L1 table.

import { noExtensions } from '../../src/drivers/qcow2/format/extensions.js'
import {
  AUTOCLEAR_DATA_FILE_RAW,
  COMPATIBLE_LAZY_REFCOUNTS,
  COMPRESSION_ZLIB,
  COMPRESSION_ZSTD,
  HEADER_BYTES_V2,
  HEADER_BYTES_V3,
  INCOMPATIBLE_COMPRESSION,
  INCOMPATIBLE_DATA_FILE,
  INCOMPATIBLE_EXTENDED_L2,
  type Qcow2Header,
} from '../../src/drivers/qcow2/format/header.js'
import { createLayout, host, type Layout, l1EntriesFor } from '../../src/drivers/qcow2/format/layout.js'
import { writeRefcount } from '../../src/drivers/qcow2/format/refcount-codec.js'
import { refcountStructures } from '../../src/drivers/qcow2/format/refcount-size.js'
import { encodeFirstCluster } from '../../src/drivers/qcow2/metadata/header-update.js'

/** What kind of image. */
export interface ImageKind {
  version?: 2 | 3
  /** 9 by default. */
  clusterBits?: number
  /** 4 by default: 16 bits. */
  refcountOrder?: number
  extendedL2?: boolean
  lazyRefcounts?: boolean
  zstd?: boolean
  /** Data stands in a file of its own, which with 'raw' is an image by itself. */
  dataFile?: 'plain' | 'raw'
}

/** An image of a disk of `size` bytes with nothing in it. */
export function emptyQcow2(size: number, kind: ImageKind = {}): Uint8Array {
  const { clusterBits = 9, refcountOrder = 4, extendedL2 = false } = kind
  const layout = createLayout(clusterBits, refcountOrder, extendedL2)
  const { clusterSize } = layout
  const l1Size = l1EntriesFor(layout, size)
  const l1Clusters = Math.ceil((l1Size * 8) / clusterSize)
  const { blocks, tableClusters } = refcountStructures(layout, 1 + l1Clusters, false)
  const used = 1 + tableClusters + blocks + l1Clusters
  const bytes = new Uint8Array(used * clusterSize)
  const view = new DataView(bytes.buffer)
  const firstBlock = 1 + tableClusters
  for (let index = 0; index < blocks; index++) {
    view.setBigUint64(clusterSize + index * 8, BigInt((firstBlock + index) * clusterSize))
  }
  for (let cluster = 0; cluster < used; cluster++) countOne(bytes, layout, firstBlock, cluster)
  const header = { ...headerOf(size, kind), l1Size, l1TableOffset: host((firstBlock + blocks) * clusterSize) }
  header.refcountTableOffset = host(clusterSize)
  header.refcountTableClusters = tableClusters
  const extensions = { ...noExtensions(), dataFile: kind.dataFile === undefined ? undefined : 'data' }
  const first = encodeFirstCluster(header, extensions, undefined, clusterSize)
  if (first === undefined) throw new Error('the header does not fit into the first cluster')
  bytes.set(first)
  return bytes
}

function countOne(bytes: Uint8Array, layout: Layout, firstBlock: number, cluster: number): void {
  const { clusterSize, refcountBlockEntries, refcountOrder } = layout
  const block = (firstBlock + Math.floor(cluster / refcountBlockEntries)) * clusterSize
  writeRefcount(new DataView(bytes.buffer, block, clusterSize), cluster % refcountBlockEntries, refcountOrder, 1)
}

function headerOf(size: number, kind: ImageKind): Qcow2Header {
  const { version = 3, clusterBits = 9, refcountOrder = 4 } = kind
  let incompatibleFeatures = 0n
  if (kind.extendedL2 === true) incompatibleFeatures |= INCOMPATIBLE_EXTENDED_L2
  if (kind.zstd === true) incompatibleFeatures |= INCOMPATIBLE_COMPRESSION
  if (kind.dataFile !== undefined) incompatibleFeatures |= INCOMPATIBLE_DATA_FILE
  return {
    version,
    backingFileOffset: host(0),
    backingFileSize: 0,
    clusterBits,
    size,
    cryptMethod: 0,
    l1Size: 0,
    l1TableOffset: host(0),
    refcountTableOffset: host(0),
    refcountTableClusters: 0,
    nbSnapshots: 0,
    snapshotsOffset: host(0),
    incompatibleFeatures,
    compatibleFeatures: kind.lazyRefcounts === true ? COMPATIBLE_LAZY_REFCOUNTS : 0n,
    autoclearFeatures: kind.dataFile === 'raw' ? AUTOCLEAR_DATA_FILE_RAW : 0n,
    refcountOrder,
    headerLength: version === 2 ? HEADER_BYTES_V2 : HEADER_BYTES_V3,
    compressionType: kind.zstd === true ? COMPRESSION_ZSTD : COMPRESSION_ZLIB,
    unknownFields: new Uint8Array(0),
  }
}
