// Changing the header: fields, extensions and the backing file name change as one, in the first cluster. What changes in
// memory changes when the disk has it. Changes take turns, each made of the header that the one before has left: none undoes
// another.

import { KiB } from '../../../common/units.js'
import { read } from '../../../io/read.js'
import { write } from '../../../io/write.js'
import { encodeExtensions, encodeSkip, encodeText, type HeaderExtensions } from '../format/extensions.js'
import { encodedHeaderLength, encodeHeader, INCOMPATIBLE_DIRTY, type Qcow2Header } from '../format/header.js'
import { host } from '../format/layout.js'
import { imageError, type Qcow2State } from '../state.js'
import { barrier } from './barrier.js'
import { refuseCorrupt } from './corruption.js'
import { replaceFirstCluster, tryHeader } from './first-cluster.js'
import { refuseOverlap } from './overlap.js'

/** Only larger clusters have the names of features in them. */
const NAMELESS_CLUSTER_SIZE = 4 * KiB

/** What a header update may change besides fields. */
export interface HeaderChange {
  extensions?: Partial<HeaderExtensions>
  /** Name of the backing file; null for none. */
  backingName?: string | null
}

/**
 * The bytes of a header with all that follows it, right behind its fields or from `start` on; undefined where `room` bytes do not
 * hold it. Sets where the name stands.
 */
export function encodeFirstCluster(
  header: Qcow2Header,
  extensions: HeaderExtensions,
  backingName: string | undefined,
  room: number,
  start: number = encodedHeaderLength(header),
): Uint8Array | undefined {
  // The names of features are a courtesy for which small clusters have no room to spare.
  const encoded = encodeExtensions(extensions, header.version >= 3 && room > NAMELESS_CLUSTER_SIZE)
  const name = backingName === undefined ? new Uint8Array(0) : encodeText(backingName)
  const end = start + encoded.byteLength
  if (end + name.byteLength > room) return undefined
  header.backingFileOffset = host(backingName === undefined ? 0 : end)
  header.backingFileSize = name.byteLength
  const bytes = new Uint8Array(end + name.byteLength)
  encodeHeader(header, bytes)
  const gap = start - encodedHeaderLength(header)
  if (gap > 0) bytes.set(encodeSkip(gap), encodedHeaderLength(header))
  bytes.set(encoded, start)
  bytes.set(name, end)
  return bytes
}

/**
 * Changes the header by `fields` and `change`, and waits until that is durable. ENOSPC where the first cluster does not hold
 * it, EIO where the image was found corrupt before it was this change's turn. A crash meanwhile leaves the old header or the
 * new one.
 */
export async function writeHeader(
  state: Qcow2State,
  fields: Partial<Qcow2Header> = {},
  change: HeaderChange = {},
): Promise<void> {
  await state.headerLock.runExclusive(() => replaceHeader(state, fields, change))
}

async function replaceHeader(state: Qcow2State, fields: Partial<Qcow2Header>, change: HeaderChange): Promise<void> {
  refuseCorrupt(state)
  const header: Qcow2Header = { ...state.header, ...fields }
  const extensions: HeaderExtensions = { ...state.extensions, ...change.extensions }
  const backingName = change.backingName === undefined ? state.backingName : (change.backingName ?? undefined)
  const { clusterSize } = state.layout
  const bytes = encodeFirstCluster(header, extensions, backingName, clusterSize)
  if (bytes === undefined) throw imageError(state, 'ENOSPC', 'the first cluster of the image does not hold its header')
  const after = new Uint8Array(clusterSize)
  after.set(bytes)
  refuseOverlap(state, host(0), clusterSize, ['main-header'])
  const before = new Uint8Array(clusterSize)
  await read(state.file, 0, before)
  await replaceFirstCluster(state, {
    before,
    after,
    aside: (start) => encodeFirstCluster({ ...header }, extensions, backingName, clusterSize, start),
  })
  state.header = header
  state.extensions = extensions
  state.backingName = backingName
}

/** Fields that lie side by side in the header and are changed together, by the bytes they take. */
const FIELD_GROUPS = {
  size: [24, 32],
  l1: [36, 48],
  refcountTable: [48, 60],
  tables: [36, 60],
  snapshots: [60, 72],
  features: [72, 96],
} as const

/** Writes a group of fields alone, in one piece of a sector, and waits until it is durable. EIO as {@link writeHeader}. */
export async function writeHeaderFields(
  state: Qcow2State,
  group: keyof typeof FIELD_GROUPS,
  fields: Partial<Qcow2Header>,
): Promise<void> {
  const [from, to] = FIELD_GROUPS[group]
  await state.headerLock.runExclusive(async () => {
    refuseCorrupt(state)
    refuseOverlap(state, host(from), to - from, ['main-header'])
    await putFields(state, group, fields)
  })
}

/** What a change of header fields needs to know. */
export type HeaderOwner = Pick<Qcow2State, 'file' | 'dataFile' | 'header' | 'headerLock' | 'corrupt'>

/** The same for a repair, of an image in which anything may stand anywhere. */
export async function repairHeaderFields(
  image: HeaderOwner,
  group: keyof typeof FIELD_GROUPS,
  fields: Partial<Qcow2Header>,
): Promise<void> {
  await image.headerLock.runExclusive(() => putFields(image, group, fields))
}

async function putFields(
  image: HeaderOwner,
  group: keyof typeof FIELD_GROUPS,
  fields: Partial<Qcow2Header>,
): Promise<void> {
  const header: Qcow2Header = { ...image.header, ...fields }
  await tryHeader(
    image,
    () => putGroup(image, group, header),
    () => putGroup(image, group, image.header),
  )
  image.header = header
}

async function putGroup(image: HeaderOwner, group: keyof typeof FIELD_GROUPS, header: Qcow2Header): Promise<void> {
  const bytes = new Uint8Array(encodedHeaderLength(header))
  encodeHeader(header, bytes)
  const [from, to] = FIELD_GROUPS[group]
  await write(image.file, from, bytes.slice(from, to))
  await barrier(image)
}

/** Says that refcounts may be wrong from now on (rule O8). */
export async function setDirtyBit(state: Qcow2State): Promise<void> {
  const { incompatibleFeatures } = state.header
  await writeHeaderFields(state, 'features', { incompatibleFeatures: incompatibleFeatures | INCOMPATIBLE_DIRTY })
}

/** Says that refcounts are right, unless a repair is owed. All of them are durable. */
export async function clearDirtyBit(state: Qcow2State): Promise<void> {
  if (!isDirty(state) || state.repairOwed) return
  const { incompatibleFeatures } = state.header
  await writeHeaderFields(state, 'features', { incompatibleFeatures: incompatibleFeatures & ~INCOMPATIBLE_DIRTY })
}

/** Whether the header says that refcounts may be wrong. */
export function isDirty(state: Qcow2State): boolean {
  return (state.header.incompatibleFeatures & INCOMPATIBLE_DIRTY) !== 0n
}
