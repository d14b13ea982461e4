// What an open image keeps. Every module of this folder works on one of these; only the module named beside a field writes
// it.

import type { Mutex } from 'async-mutex'
import type { Timer } from '../../common/clock.js'
import type { ErrnoName } from '../../common/errno.js'
import { BlockError } from '../../common/error.js'
import type { Compressor } from '../../common/host-services.js'
import type { BlockChild, BlockDriverState } from '../../io/block-node.js'
import type { IoEnvironment } from '../../io/environment.js'
import type { DecompressedClusters } from './data/decompressed-clusters.js'
import type { LuksInImage, PayloadCipher } from './encryption/encryption.js'
import type { BitmapEntry } from './format/bitmap-directory.js'
import type { HeaderExtensions } from './format/extensions.js'
import type { Qcow2Header } from './format/header.js'
import type { HostOffset, Layout } from './format/layout.js'
import type { Snapshot } from './format/snapshot-table.js'
import type { Table64 } from './format/table.js'
import type { MetadataCache } from './metadata/metadata-cache.js'
import type { MetadataMap } from './metadata/overlap.js'
import type { TableWindow } from './metadata/table-window.js'
import type { Qcow2Settings } from './options.js'
import type { AllocationsInFlight } from './refcounts/allocations.js'
import type { FreedClusters } from './refcounts/freed-clusters.js'

/** An open image. */
export interface Qcow2State {
  readonly node: BlockDriverState
  readonly environment: IoEnvironment
  /** Opened for a check, and maybe too damaged for anything else: what it stores beside the disk stays as it is. */
  readonly checking: boolean
  readonly file: BlockChild
  /** Where guest data stands: `file`, or the external data file. */
  readonly dataFile: BlockChild
  /** Written by refcount-width.ts; all but the width of refcounts stays. */
  layout: Layout
  /** Written by header-update.ts together with the header on disk. */
  header: Qcow2Header
  extensions: HeaderExtensions
  /** Name of the backing file as the header has it. */
  backingName: string | undefined
  settings: Qcow2Settings

  /** The active L1 table; on disk at `header.l1TableOffset`. */
  l1: Table64
  /** The refcount table; on disk at `header.refcountTableOffset`. */
  refcountTable: Table64
  l2Cache: MetadataCache
  refcountCache: MetadataCache
  /** A window on L2 tables that no scan uses at present; one is kept, however many scans there were. */
  spareWindow: TableWindow | undefined
  /** The next cleaning of the caches. */
  cleaning: Timer | undefined

  /** Where the search for free clusters begins. */
  freeClusterIndex: number
  /** Where the next compressed cluster goes; 0 where a new host cluster is due. */
  freeByteOffset: HostOffset
  /** Decrements of refcounts that do not free a cluster: applied when the L2 tables that no longer need it are stable. */
  readonly owedDecrements: Map<number, number>
  /** Allocations whose clusters no L2 table names yet. */
  readonly allocations: AllocationsInFlight
  /** Held by whoever changes metadata, as long as it may wait in between. */
  readonly lock: Mutex
  /** Held for one change of the header; taken last. The corrupt bit is written without `lock`. */
  readonly headerLock: Mutex

  snapshots: readonly Snapshot[]
  /** The L1 table in memory is that of a snapshot: the image must not be written to. */
  loadedSnapshot: boolean
  /** The bitmap directory as it stands on disk; not read where nobody may trust it. */
  bitmaps: readonly BitmapEntry[]
  /** Bytes of the snapshot table on disk. */
  snapshotTableBytes: number
  /** Clusters freed since tables were last written out. */
  readonly freed: FreedClusters
  /** Contents of compressed clusters read last. */
  readonly decompressed: DecompressedClusters
  /** Which host clusters hold metadata. */
  readonly metadata: MetadataMap
  readonly compressor: Compressor | undefined
  /** Of an image that is encrypted. */
  readonly cipher: PayloadCipher | undefined
  /** Of an image encrypted by LUKS: its passwords. */
  readonly luks: LuksInImage | undefined

  /** Clusters may have been allocated ahead, without data: the file below knows where it has holes. */
  preallocated: boolean
  /** Requests may write: the header says that the image is in use, as far as its features want that. */
  writable: boolean
  /** Counts or copied flags may be wrong in a way that only a repair ends: the dirty bit, where it is set, is not cleared. */
  repairOwed: boolean
  /** The image was found corrupt: nothing is written any more. */
  corrupt: boolean
  /** The write of the corrupt bit, once it is on its way. */
  corruptBitWrite: Promise<void> | undefined
}

/** An error of this image; `corrupt` metadata found while reading is EIO. */
export function imageError(state: Qcow2State, code: ErrnoName, message: string, cause?: unknown): BlockError {
  return new BlockError(code, message, { node: state.node.nodeName, cause })
}

/** Whether guest data stands in a file of its own. */
export function hasDataFile(state: Pick<Qcow2State, 'file' | 'dataFile'>): boolean {
  return state.dataFile !== state.file
}

/** The edge to the backing file, as it is now. */
export function backingOf(state: Qcow2State): BlockChild | undefined {
  return state.node.backing
}
