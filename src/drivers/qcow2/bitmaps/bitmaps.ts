// Dirty bitmaps that live in the image (qcow2 specification, "Bitmaps"). While the image is open for writing they are in memory,
// and what is stored is marked as in use; they are written when the image is closed or handed over (rule O10).

import { BlockError } from '../../../common/error.js'
import { HBitmap } from '../../../common/hbitmap.js'
import type { OpenContext } from '../../../global-state/driver.js'
import { type DirtyBitmap, newBitmap } from '../../../io/dirty-bitmap.js'
import { read } from '../../../io/read.js'
import { write } from '../../../io/write.js'
import {
  type BitmapEntry,
  checkBitmapsExtension,
  decodeBitmapDirectory,
  encodeBitmapDirectory,
  whyNotStorable,
} from '../format/bitmap-directory.js'
import type { BitmapsExtension } from '../format/extensions.js'
import { AUTOCLEAR_BITMAPS } from '../format/header.js'
import { barrier } from '../metadata/barrier.js'
import { settleMetadata } from '../metadata/flush.js'
import { writeHeader } from '../metadata/header-update.js'
import { refuseOverlap } from '../metadata/overlap.js'
import { beginWriting } from '../metadata/writing.js'
import { freeClusters } from '../refcounts/allocator.js'
import { writeToNewClusters } from '../snapshots/snapshot-tables.js'
import { imageError, type Qcow2State } from '../state.js'
import { freeBitmap, readBitmaps, writeBitmap } from './bitmap-data.js'

/**
 * Reads the directory of an image that is being opened; EINVAL where it cannot be. Bitmaps that a program without knowledge of
 * them left behind are not to be trusted (threats I22): they are dropped, and whoever opens the image is told.
 */
export async function loadBitmapDirectory(state: Qcow2State, context: OpenContext): Promise<void> {
  const { extensions, header, layout, file } = state
  const { bitmaps } = extensions
  if (bitmaps === undefined) return
  if ((header.autoclearFeatures & AUTOCLEAR_BITMAPS) === 0n) {
    context.warn(header.version < 3 ? VERSION_2_BITMAPS : FOREIGN_WRITE)
    state.extensions = { ...extensions, bitmaps: undefined }
    if (context.readOnly || state.checking) return
    await beginWriting(state)
    await writeHeader(state, {}, {})
    return
  }
  checkBitmapsExtension(bitmaps, layout)
  const directory = new Uint8Array(bitmaps.directorySize)
  await read(file, bitmaps.directoryOffset, directory)
  state.bitmaps = decodeBitmapDirectory(directory, bitmaps.count, header.size, layout)
}

const LEAKS = "Some clusters may be leaked, run 'blockgraph-img check -r' on the image file to fix."
const FOREIGN_WRITE = `a program lacking bitmap support modified this file, so all bitmaps are now considered inconsistent\n${LEAKS}`
const VERSION_2_BITMAPS =
  'This qcow2 v2 image contains bitmaps, but they may have been modified by a program without persistent bitmap ' +
  `support; so now they must all be considered inconsistent\n${LEAKS}`

/** A stored bitmap as it is told of. */
export interface StoredBitmapInfo {
  name: string
  /** In bytes. */
  granularity: number
  flags: ('in-use' | 'auto')[]
}

/** The bitmaps in the directory, as they stand there. */
export function listStoredBitmaps(state: Qcow2State): StoredBitmapInfo[] {
  return state.bitmaps.map(({ name, granularityBits, inUse, auto }) => {
    const flags: StoredBitmapInfo['flags'] = []
    if (inUse) flags.push('in-use')
    if (auto) flags.push('auto')
    return { name, granularity: 2 ** granularityBits, flags }
  })
}

/**
 * Brings the bitmaps of the image into memory. Those that were in use are inconsistent and hold nothing. Where the node is
 * writable what is stored is marked as in use; otherwise they are read-only. For a check they are read and left where they are.
 */
export async function loadBitmaps(state: Qcow2State): Promise<DirtyBitmap[]> {
  const { readOnly } = state.node
  const sound = state.bitmaps.filter((entry) => !entry.inUse)
  const contents = await readBitmaps(state, sound)
  if (state.checking) return []
  const loaded = state.bitmaps.map((entry) => {
    const content = contents[sound.indexOf(entry)]
    const bits = content ?? new HBitmap(state.header.size, 2 ** entry.granularityBits)
    const inconsistent = content === undefined
    return {
      ...newBitmap(bits, entry.auto && !inconsistent),
      name: entry.name,
      persistent: true,
      inconsistent,
      readonly: readOnly && !inconsistent,
    }
  })
  if (!readOnly) await markBitmapsInUse(state)
  return loaded
}

/** Says on disk that what is stored no longer covers what will be written. */
export async function markBitmapsInUse(state: Qcow2State): Promise<void> {
  if (state.checking || state.bitmaps.every((entry) => entry.inUse)) return
  await state.lock.runExclusive(async () => {
    await beginWriting(state)
    await changeDirectoryInPlace(
      state,
      state.bitmaps.map((entry) => ({ ...entry, inUse: true })),
    )
  })
}

/** Entries that are as long as those on disk. While they change, the image says that bitmaps are not to be trusted. */
async function changeDirectoryInPlace(state: Qcow2State, entries: readonly BitmapEntry[]): Promise<void> {
  const { bitmaps } = state.extensions
  if (bitmaps === undefined) return
  const bytes = encodeBitmapDirectory(entries)
  await writeHeader(state, { autoclearFeatures: state.header.autoclearFeatures & ~AUTOCLEAR_BITMAPS }, {})
  refuseOverlap(state, bitmaps.directoryOffset, bytes.byteLength, ['bitmap-directory'])
  await write(state.file, bitmaps.directoryOffset, bytes)
  await barrier(state)
  await writeHeader(state, { autoclearFeatures: state.header.autoclearFeatures | AUTOCLEAR_BITMAPS }, {})
  state.bitmaps = entries
}

/** Refuses a new bitmap that could not be stored: EINVAL and why. */
export function refuseUnstorable(state: Qcow2State, name: string, granularity: number): void {
  const why =
    state.header.version < 3
      ? 'Cannot store dirty bitmaps in qcow2 v2 files'
      : whyNotStorable(state.bitmaps, name, granularity, state.header.size)
  if (why !== undefined) throw new BlockError('EINVAL', why)
}

/** Takes a bitmap out of the image, where it is stored there. */
export async function removeStoredBitmap(state: Qcow2State, name: string): Promise<void> {
  const entry = state.bitmaps.find((one) => one.name === name)
  if (entry === undefined) return
  await state.lock.runExclusive(async () => {
    await beginWriting(state)
    const left = state.bitmaps.filter((one) => one !== entry)
    await takeDirectory(state, await prepareDirectory(state, left))
    await freeBitmap(state, entry)
    await settleMetadata(state)
  })
}

/** A bitmap on its way to the image: what the directory will say of it, and what it replaces there. */
interface Stored {
  entry: BitmapEntry
  old: BitmapEntry | undefined
}

/**
 * Writes the persistent bitmaps of the node to the image, which may be trusted then. Stored ones that the node no longer has
 * go; inconsistent ones stay as they are. On failure what is stored stays marked as in use.
 */
export async function storeBitmaps(state: Qcow2State): Promise<void> {
  if (state.checking) return
  const persistent = state.node.state.bitmaps.filter((bitmap) => bitmap.persistent)
  const live = persistent.filter((bitmap) => !bitmap.inconsistent && !bitmap.skipStore && !bitmap.readonly)
  const gone = state.bitmaps.filter((entry) => !persistent.some((bitmap) => bitmap.name === entry.name))
  if (live.length === 0 && gone.length === 0) return
  await state.lock.runExclusive(async () => {
    await beginWriting(state)
    const stored: Stored[] = []
    let directory: PreparedDirectory
    try {
      for (const { entry, bitmap } of plan(state, persistent, live)) stored.push(await storeOne(state, entry, bitmap))
      const entries = stored.map(({ entry }) => entry)
      directory = await prepareDirectory(state, entries)
    } catch (error) {
      for (const { entry, old } of stored) if (entry !== old) await freeBitmap(state, entry)
      throw error
    }
    await takeDirectory(state, directory)
    for (const { entry, old } of stored) if (old !== undefined && entry !== old) await freeBitmap(state, old)
    for (const entry of gone) await freeBitmap(state, entry)
    await settleMetadata(state)
  })
}

/** What is to stand in the directory, in its order; new ones stand behind the others, the newest first. */
function plan(
  state: Qcow2State,
  persistent: readonly DirtyBitmap[],
  live: readonly DirtyBitmap[],
): { entry: BitmapEntry | undefined; bitmap: DirtyBitmap | undefined }[] {
  const named = (list: readonly DirtyBitmap[], name: string) => list.find((bitmap) => bitmap.name === name)
  const kept = state.bitmaps.filter((entry) => named(persistent, entry.name) !== undefined)
  const added = live.filter((bitmap) => !state.bitmaps.some((entry) => entry.name === bitmap.name)).reverse()
  return [
    ...kept.map((entry) => ({ entry, bitmap: named(live, entry.name) })),
    ...added.map((bitmap) => ({ entry: undefined, bitmap })),
  ]
}

/** Writes one bitmap; one that is not live stays as it is stored. */
async function storeOne(
  state: Qcow2State,
  old: BitmapEntry | undefined,
  bitmap: DirtyBitmap | undefined,
): Promise<Stored> {
  if (bitmap === undefined) {
    if (old === undefined) throw imageError(state, 'EINVAL', 'a bitmap that is neither stored nor in memory')
    return { entry: old, old }
  }
  if (old === undefined) refuseUnstorable(state, bitmap.name ?? '', bitmap.bits.granularity)
  const { offset, size } = await writeBitmap(state, contentOf(bitmap))
  const entry: BitmapEntry = {
    name: bitmap.name ?? '',
    tableOffset: offset,
    tableSize: size,
    inUse: false,
    auto: (bitmap.successor ?? bitmap).enabled,
    granularityBits: Math.log2(bitmap.bits.granularity),
  }
  return { entry, old }
}

/** Whoever uses the bitmap has not finished: all that is recorded counts. */
function contentOf(bitmap: DirtyBitmap): HBitmap {
  if (bitmap.successor === undefined) return bitmap.bits
  const all = bitmap.bits.copy()
  all.merge(bitmap.successor.bits)
  return all
}

/** A directory on disk that the header does not name yet. */
interface PreparedDirectory {
  entries: readonly BitmapEntry[]
  extension: BitmapsExtension | undefined
}

/** Writes a directory and makes it, and all that it names, durable. On failure nothing is left of it. */
async function prepareDirectory(state: Qcow2State, entries: readonly BitmapEntry[]): Promise<PreparedDirectory> {
  const count = entries.length
  const bytes = encodeBitmapDirectory(entries)
  const offset = await writeToNewClusters(state, bytes)
  try {
    await settleMetadata(state)
    await barrier(state)
  } catch (error) {
    await freeClusters(state, offset, bytes.byteLength, 'never')
    throw error
  }
  const extension = { count, directorySize: bytes.byteLength, directoryOffset: offset }
  return { entries, extension: count === 0 ? undefined : extension }
}

/**
 * Lets the header name a prepared directory, and say that it may be trusted; the old one is free then. Where that fails nobody
 * knows which one the disk names: both stay.
 */
async function takeDirectory(state: Qcow2State, { entries, extension }: PreparedDirectory): Promise<void> {
  const old = state.extensions.bitmaps
  const features = state.header.autoclearFeatures & ~AUTOCLEAR_BITMAPS
  const autoclearFeatures = extension === undefined ? features : features | AUTOCLEAR_BITMAPS
  await writeHeader(state, { autoclearFeatures }, { extensions: { bitmaps: extension } })
  state.bitmaps = entries
  if (old !== undefined) await freeClusters(state, old.directoryOffset, old.directorySize, 'other')
}
