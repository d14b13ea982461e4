// Opening an image: header, extensions and tables are read and judged, limits before allocations (threats.md, section 2), and
// children are opened last, by the policy of whoever opens the image.

import { Mutex } from 'async-mutex'
import { BDRV_CHILD_COW, BDRV_CHILD_DATA, BDRV_CHILD_IMAGE } from '../../common/child-role.js'
import { BlockError } from '../../common/error.js'
import type { Compressor } from '../../common/host-services.js'
import { BDRV_O_CHECK, BDRV_O_NO_BACKING, BDRV_O_NO_IO, BDRV_O_UNMAP } from '../../common/open-flags.js'
import type { OpenContext } from '../../global-state/driver.js'
import type { BlockChild } from '../../io/block-node.js'
import { read } from '../../io/read.js'
import { loadBitmapDirectory } from './bitmaps/bitmaps.js'
import { repairOnOpen } from './check/repair.js'
import { DecompressedClusters } from './data/decompressed-clusters.js'
import { openEncryption } from './encryption/encryption.js'
import { decodeExtensions, decodeText, featureName, type HeaderExtensions } from './format/extensions.js'
import {
  AUTOCLEAR_DATA_FILE_RAW,
  COMPRESSION_ZSTD,
  checkFeatures,
  decodeHeader,
  INCOMPATIBLE_CORRUPT,
  INCOMPATIBLE_DATA_FILE,
  isExtended,
  MAX_BACKING_NAME,
  type Qcow2Header,
} from './format/header.js'
import {
  createLayout,
  ENTRY_BYTES,
  host,
  isClusterAligned,
  type Layout,
  l1EntriesFor,
  MAX_L1_BYTES,
  MAX_REFCOUNT_TABLE_BYTES,
} from './format/layout.js'
import { createCaches, startCleaning } from './metadata/caches.js'
import { isWatched, reach } from './metadata/debug-points.js'
import { isDirty } from './metadata/header-update.js'
import { MetadataMap, mapActiveTables, mapRefcountBlocks } from './metadata/overlap.js'
import { readTable } from './metadata/reload-tables.js'
import { type Qcow2OptionValues, resolveSettings } from './options.js'
import { AllocationsInFlight } from './refcounts/allocations.js'
import { FreedClusters } from './refcounts/freed-clusters.js'
import { loadSnapshots, mapSnapshotTables } from './snapshots/snapshot-tables.js'
import type { Qcow2State } from './state.js'

/** What the first cluster of an image says. */
export interface FirstCluster {
  header: Qcow2Header
  layout: Layout
  extensions: HeaderExtensions
  backingName: string | undefined
}

/** Reads and judges the first cluster. Codes as `decodeHeader`, `checkFeatures` and `decodeExtensions`. */
export async function readFirstCluster(file: BlockChild): Promise<FirstCluster> {
  const fileLength = file.node.state.length
  const start = new Uint8Array(Math.min(512, fileLength))
  await read(file, 0, start)
  const header = decodeHeader(start)
  const clusterSize = 2 ** header.clusterBits
  const cluster = new Uint8Array(clusterSize)
  await read(file, 0, cluster)
  const full = decodeHeader(cluster.subarray(0, Math.max(header.headerLength, 512)))
  const { backingFileOffset, backingFileSize } = full
  if (backingFileOffset > clusterSize) throw invalid('Invalid backing file offset')
  const end = backingFileOffset === 0 ? clusterSize : backingFileOffset
  const extensions = decodeExtensions(cluster, full.headerLength, end)
  checkFeatures(full, (bit) => featureName(extensions.featureTable, bit))
  let backingName: string | undefined
  if (backingFileOffset !== 0) {
    if (backingFileSize > Math.min(MAX_BACKING_NAME, clusterSize - backingFileOffset)) {
      throw invalid('Backing file name too long')
    }
    backingName = decodeText(cluster.subarray(backingFileOffset, backingFileOffset + backingFileSize))
  }
  const layout = createLayout(full.clusterBits, full.refcountOrder, isExtended(full))
  return { header: full, layout, extensions, backingName }
}

/** Opens an image on the children that `context` gives. */
export async function openImage(context: OpenContext, options: Qcow2OptionValues): Promise<Qcow2State> {
  const file = await context.child('file', BDRV_CHILD_IMAGE)
  const first = await readFirstCluster(file)
  const { header, layout, extensions } = first
  const checking = (context.openFlags & BDRV_O_CHECK) !== 0
  checkTables(header, layout, checking)
  if (!context.readOnly && !checking && (header.incompatibleFeatures & INCOMPATIBLE_CORRUPT) !== 0n) {
    throw new BlockError('EACCES', 'qcow2: Image is corrupt; cannot be opened read/write')
  }
  const settings = resolveSettings(options, header, layout, (context.openFlags & BDRV_O_UNMAP) !== 0)
  const l1 = await readTable(file, header.l1TableOffset, header.l1Size * ENTRY_BYTES)
  if (isWatched({ file })) await reach({ file }, 'reftable_load')
  const refcountTable = await readTable(
    file,
    header.refcountTableOffset,
    header.refcountTableClusters * layout.clusterSize,
  )
  const encryption = await openEncryption({ context, file, header, extensions, layout, options })
  const dataFile = await openDataFile(context, file, first)
  await openBacking(context, first)
  const state: Qcow2State = {
    node: context.node,
    environment: context.environment,
    checking,
    file,
    dataFile,
    layout,
    header,
    extensions,
    backingName: first.backingName,
    settings,
    l1,
    refcountTable,
    ...createCaches(() => state, file, settings, layout.clusterSize),
    cleaning: undefined,
    freeClusterIndex: 0,
    freeByteOffset: host(0),
    owedDecrements: new Map(),
    allocations: new AllocationsInFlight(),
    lock: new Mutex(),
    headerLock: new Mutex(),
    snapshots: [],
    loadedSnapshot: false,
    snapshotTableBytes: 0,
    bitmaps: [],
    freed: new FreedClusters(),
    decompressed: new DecompressedClusters(),
    spareWindow: undefined,
    metadata: new MetadataMap(layout.clusterSize),
    compressor: compressorOf(context, header),
    cipher: encryption?.cipher,
    luks: encryption?.luks,
    preallocated: false,
    writable: false,
    repairOwed: false,
    corrupt: (header.incompatibleFeatures & INCOMPATIBLE_CORRUPT) !== 0n,
    corruptBitWrite: undefined,
  }
  mapActiveTables(state)
  mapRefcountBlocks(state)
  if (!checking) await loadSnapshots(state)
  await mapSnapshotTables(state)
  await loadBitmapDirectory(state, context)
  if (!context.readOnly && !checking) await repairOnOpen(state, (line) => context.notice(line))
  state.repairOwed = isDirty(state)
  startCleaning(state)
  return state
}

/** Judges where tables are said to be. A check may open what is too damaged to be used. */
function checkTables(header: Qcow2Header, layout: Layout, checking: boolean): void {
  const refcountBytes = header.refcountTableClusters * layout.clusterSize
  if (refcountBytes > MAX_REFCOUNT_TABLE_BYTES) throw invalid('Reference count table too large')
  if (header.refcountTableClusters === 0 && !checking) {
    throw invalid('Image does not contain a reference count table')
  }
  if (!isClusterAligned(layout, header.refcountTableOffset)) throw invalid('Reference count table offset invalid')
  if (header.l1Size * ENTRY_BYTES > MAX_L1_BYTES) throw tooLarge('Active L1 table too large')
  if (!isClusterAligned(layout, header.l1TableOffset)) throw invalid('Active L1 table offset invalid')
  const needed = l1EntriesFor(layout, header.size)
  if (needed * ENTRY_BYTES > MAX_L1_BYTES * 2 ** 10) throw tooLarge('Image is too big')
  if (header.l1Size < needed) throw invalid('L1 table is too small')
}

/** The file with the data of the guest: one of its own where the image says so. */
async function openDataFile(context: OpenContext, file: BlockChild, first: FirstCluster): Promise<BlockChild> {
  const { header, extensions } = first
  const external = (header.incompatibleFeatures & INCOMPATIBLE_DATA_FILE) !== 0n
  if (!external) {
    if ((header.autoclearFeatures & AUTOCLEAR_DATA_FILE_RAW) !== 0n) {
      throw invalid('data-file-raw requires a data file')
    }
    if (context.hasChild('data-file')) {
      throw invalid("'data-file' can only be set for images with an external data file")
    }
    return file
  }
  // Whoever only asks about the image opens nothing that it names (threats.md N04).
  if ((context.openFlags & BDRV_O_NO_IO) !== 0) return file
  const name = extensions.dataFile
  if (name === undefined && !context.hasChild('data-file')) throw invalid("'data-file' is required for this image")
  // Whoever names the file decides; the name in the image counts where nobody does.
  const given = context.hasChild('data-file') || name === undefined
  return context.child('data-file', BDRV_CHILD_DATA, given ? {} : { filename: name })
}

/** The backing file, unless it is not wanted. Its format is the caller's to name, or the image's (threats.md N07). */
async function openBacking(context: OpenContext, first: FirstCluster): Promise<void> {
  if ((context.openFlags & BDRV_O_NO_BACKING) !== 0) return
  const { backingName, extensions } = first
  if (context.hasChild('backing')) {
    await context.child('backing', BDRV_CHILD_COW, named(backingName, extensions.backingFormat))
  } else if (backingName !== undefined && backingName !== '') {
    await context.child('backing', BDRV_CHILD_COW, named(backingName, extensions.backingFormat))
  }
}

function named(filename: string | undefined, format: string | undefined): Record<string, unknown> {
  if (filename === undefined) return {}
  return format === undefined ? { filename } : { driver: format, filename }
}

/** What decompresses the clusters of the image. Zstandard has to be there; without deflate, images without such clusters open. */
function compressorOf(context: OpenContext, header: Qcow2Header): Compressor | undefined {
  const { services } = context.environment
  if (header.compressionType !== COMPRESSION_ZSTD) return services.deflate
  if (services.zstd !== undefined) return services.zstd
  throw new BlockError('ENOTSUP', 'the clusters of the image are compressed by zstd, which this host does not have')
}

function invalid(message: string): BlockError {
  return new BlockError('EINVAL', message)
}

function tooLarge(message: string): BlockError {
  return new BlockError('EFBIG', message)
}
