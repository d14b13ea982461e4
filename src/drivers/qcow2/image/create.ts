// Making an image. The tables of an empty image come first and its header last, so that until then there is no image; whatever
// is more than that (a large L1 table, preallocation, the header of LUKS) the image does itself, opened. An image that is to be
// encrypted says so from the start: until its header of LUKS is there nobody opens it, and never is it one in the clear.

import { BlockError, quoteOutside } from '../../../common/error.js'
import { BDRV_SECTOR_SIZE } from '../../../common/limits.js'
import { KiB } from '../../../common/units.js'
import type { CreateContext, CreateFile } from '../../../global-state/driver.js'
import type { BlockChild } from '../../../io/block-node.js'
import { flush } from '../../../io/flush.js'
import { truncate } from '../../../io/truncate.js'
import { write } from '../../../io/write.js'
import { fileArea } from '../../luks/file-area.js'
import { type EncryptionPlan, planEncryption } from '../encryption/create-encryption.js'
import { encodeText, noExtensions } from '../format/extensions.js'
import {
  AUTOCLEAR_DATA_FILE_RAW,
  COMPATIBLE_LAZY_REFCOUNTS,
  COMPRESSION_ZLIB,
  CRYPT_NONE,
  HEADER_BYTES_V2,
  HEADER_BYTES_V3,
  INCOMPATIBLE_COMPRESSION,
  INCOMPATIBLE_DATA_FILE,
  INCOMPATIBLE_EXTENDED_L2,
  MAX_BACKING_NAME,
  type Qcow2Header,
} from '../format/header.js'
import { ENTRY_BYTES, host, l1EntriesFor } from '../format/layout.js'
import { writeRefcount } from '../format/refcount-codec.js'
import { Table64 } from '../format/table.js'
import { barrier } from '../metadata/barrier.js'
import { encodeFirstCluster, writeHeader } from '../metadata/header-update.js'
import { beginWriting } from '../metadata/writing.js'
import { allocateClusters } from '../refcounts/allocator.js'
import type { Qcow2State } from '../state.js'
import { judgeNewImage, type NewImage, type Qcow2CreateValues } from './create-options.js'

const TABLE_CLUSTER = 1
const BLOCK_CLUSTER = 2
const L1_CLUSTER = 3

/** Makes an image by creation options that were read. Codes as `judgeNewImage`, `planEncryption`, and what files report. */
export async function createQcow2(context: CreateContext, values: Record<string, unknown>): Promise<void> {
  const image = judgeNewImage(values as Qcow2CreateValues, context.environment.services)
  const encryption = planEncryption(context, values)
  const simple = image.preallocation === 'off' && l1Clusters(image) <= image.layout.refcountBlockEntries - L1_CLUSTER
  const size = simple ? image.size : 0
  // Judged before any file is made.
  const first = firstCluster(image, size, encryption?.cryptMethod ?? CRYPT_NONE)
  const file = await context.createFile({ size: 0 })
  const children: Record<string, CreateFile> = { file }
  if (image.dataFile !== undefined) {
    children['data-file'] = await context.createFile({ filename: image.dataFile, size })
  }
  await writeEmptyImage(file.edge, image, first, simple ? l1Clusters(image) : 0)
  const hasLuks = encryption !== undefined && encryption.headerBytes > 0
  if (simple && !hasLuks) return
  const opened = await context.openImage(children)
  if (!simple) await truncate(opened.edge, image.size, { preallocation: image.preallocation })
  if (hasLuks) await writeLuks(opened.state as Qcow2State, encryption)
}

function l1Bytes(image: NewImage): number {
  return l1EntriesFor(image.layout, image.size) * ENTRY_BYTES
}

function l1Clusters(image: NewImage): number {
  return Math.ceil(l1Bytes(image) / image.layout.clusterSize)
}

/** The first cluster of an empty image of `size` bytes. EINVAL, ENOSPC where the name of its backing file is too long. */
function firstCluster(image: NewImage, size: number, cryptMethod: number): Uint8Array {
  const { layout, backingFile, backingFormat, dataFile } = image
  const extensions = { ...noExtensions(), backingFormat, dataFile }
  const bytes = encodeFirstCluster(newHeader(image, size, cryptMethod), extensions, backingFile, layout.clusterSize)
  if (bytes !== undefined && encodeText(backingFile ?? '').byteLength <= MAX_BACKING_NAME) return bytes
  const message = `Could not assign backing file ${quoteOutside(backingFile ?? '')} with format '${backingFormat ?? ''}'`
  throw bytes === undefined
    ? new BlockError('ENOSPC', `${message}: No space left on device`, { op: 'create' })
    : new BlockError('EINVAL', `${message}: Invalid argument`, { op: 'create' })
}

function newHeader(image: NewImage, size: number, cryptMethod: number): Qcow2Header {
  const { version, layout, compressionType, dataFile, dataFileRaw, lazyRefcounts } = image
  const at = (cluster: number) => host(cluster * layout.clusterSize)
  const l1Size = l1EntriesFor(layout, size)
  let incompatibleFeatures = 0n
  if (dataFile !== undefined) incompatibleFeatures |= INCOMPATIBLE_DATA_FILE
  if (compressionType !== COMPRESSION_ZLIB) incompatibleFeatures |= INCOMPATIBLE_COMPRESSION
  if (layout.extendedL2) incompatibleFeatures |= INCOMPATIBLE_EXTENDED_L2
  return {
    version,
    backingFileOffset: host(0),
    backingFileSize: 0,
    clusterBits: layout.clusterBits,
    size,
    cryptMethod,
    l1Size,
    l1TableOffset: l1Size === 0 ? host(0) : at(L1_CLUSTER),
    refcountTableOffset: at(TABLE_CLUSTER),
    refcountTableClusters: 1,
    nbSnapshots: 0,
    snapshotsOffset: host(0),
    incompatibleFeatures,
    compatibleFeatures: lazyRefcounts ? COMPATIBLE_LAZY_REFCOUNTS : 0n,
    autoclearFeatures: dataFileRaw ? AUTOCLEAR_DATA_FILE_RAW : 0n,
    refcountOrder: layout.refcountOrder,
    headerLength: version === 2 ? HEADER_BYTES_V2 : HEADER_BYTES_V3,
    compressionType,
    unknownFields: new Uint8Array(0),
  }
}

/** Writes the tables of an empty image, and when they are durable its header. The L1 table is zeroes the file has anyway. */
async function writeEmptyImage(
  file: BlockChild,
  image: NewImage,
  first: Uint8Array,
  tableClusters: number,
): Promise<void> {
  const { clusterSize, refcountOrder } = image.layout
  const table = Table64.ofEntries(clusterSize / ENTRY_BYTES)
  table.setOffset(0, BLOCK_CLUSTER * clusterSize)
  const block = new Uint8Array(clusterSize)
  const view = new DataView(block.buffer)
  const used = L1_CLUSTER + tableClusters
  for (let cluster = 0; cluster < used; cluster++) writeRefcount(view, cluster, refcountOrder, 1)
  await write(file, TABLE_CLUSTER * clusterSize, table.bytes)
  await write(file, BLOCK_CLUSTER * clusterSize, block)
  if (tableClusters > 0) await truncate(file, L1_CLUSTER * clusterSize + l1Bytes(image))
  const padded = new Uint8Array(clusterSize)
  padded.set(first)
  // What the first sector names stands before it does.
  if (clusterSize > BDRV_SECTOR_SIZE) await write(file, BDRV_SECTOR_SIZE, padded.slice(BDRV_SECTOR_SIZE))
  await flush(file)
  await write(file, 0, padded.slice(0, BDRV_SECTOR_SIZE))
  await flush(file)
}

/** Writes the header of LUKS, and when it is durable lets that of the image name it. */
async function writeLuks(state: Qcow2State, { headerBytes, write: writeVolume }: EncryptionPlan): Promise<void> {
  await state.lock.runExclusive(async () => {
    await beginWriting(state)
    const offset = await allocateClusters(state, headerBytes)
    await clearArea(state, offset, headerBytes)
    await writeVolume(fileArea(state.file, offset, headerBytes))
    await state.refcountCache.flush()
    await barrier(state)
    await writeHeader(state, {}, { extensions: { crypto: { offset, bytes: headerBytes } } })
  })
}

/** Whole clusters of zeroes: nothing of an older file shows through, and the last one ends where it should. */
async function clearArea(state: Qcow2State, offset: number, bytes: number): Promise<void> {
  const { clusterSize } = state.layout
  const end = offset + Math.ceil(bytes / clusterSize) * clusterSize
  const zeroes = new Uint8Array(256 * KiB)
  for (let at = offset; at < end; at += zeroes.byteLength) {
    await write(state.file, at, zeroes.subarray(0, Math.min(zeroes.byteLength, end - at)))
  }
}
