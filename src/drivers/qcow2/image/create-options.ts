// Creation options of an image, and what they come to. Judged before anything is made; the words are those that users of
// such tools know.

import { BlockError, quoteOutside } from '../../../common/error.js'
import type { HostServices } from '../../../common/host-services.js'
import { PREALLOCATION_MODES, type Preallocation } from '../../../common/option-names.js'
import { alignUp, isPowerOfTwo, KiB, type Offset } from '../../../common/units.js'
import {
  flagOption,
  integerOption,
  type OptionValues,
  sizeOption,
  stringOption,
} from '../../../global-state/options/option-schema.js'
import { QCOW2_ENCRYPTION_OPTIONS } from '../encryption/create-encryption.js'
import { COMPRESSION_ZLIB, COMPRESSION_ZSTD } from '../format/header.js'
import {
  createLayout,
  DEFAULT_CLUSTER_SIZE,
  ENTRY_BYTES,
  type Layout,
  l1EntriesFor,
  MAX_CLUSTER_BITS,
  MAX_L1_BYTES,
  MIN_CLUSTER_BITS,
  MIN_EXTENDED_CLUSTER_BITS,
} from '../format/layout.js'

export const DEFAULT_REFCOUNT_BITS = 16
const MAX_REFCOUNT_BITS = 64
const SECTOR = 512

const OWN_OPTIONS = {
  cluster_size: sizeOption({ default: DEFAULT_CLUSTER_SIZE, description: 'qcow2 cluster size' }),
  extended_l2: flagOption({ default: false, description: 'Extended L2 tables' }),
  preallocation: stringOption({ description: 'Preallocation mode (allowed values: off, metadata, falloc, full)' }),
  compression_type: stringOption({
    default: 'zlib',
    description: 'Compression method used for image cluster compression',
  }),
  size: sizeOption({ required: true, description: 'Virtual disk size' }),
  compat: stringOption({ description: 'Compatibility level (v2 [0.10] or v3 [1.1])' }),
  backing_file: stringOption({ description: 'File name of a base image' }),
  backing_fmt: stringOption({ description: 'Image format of the base image' }),
  data_file: stringOption({ description: 'File name of an external data file' }),
  data_file_raw: flagOption({ description: 'The external data file must stay valid as a raw image' }),
  lazy_refcounts: flagOption({ default: false, description: 'Postpone refcount updates' }),
  refcount_bits: integerOption({
    default: DEFAULT_REFCOUNT_BITS,
    description: 'Width of a reference count entry in bits',
  }),
}

/** In the order in which users are told of them. */
export const QCOW2_CREATE_OPTIONS = { ...QCOW2_ENCRYPTION_OPTIONS, ...OWN_OPTIONS }

/** The options as read, less those of encryption. */
export type Qcow2CreateValues = OptionValues<typeof OWN_OPTIONS>

/** A new image as it is to be. */
export interface NewImage {
  readonly version: 2 | 3
  readonly layout: Layout
  /** Length of the disk in bytes, whole sectors. */
  readonly size: Offset
  readonly preallocation: Preallocation
  readonly lazyRefcounts: boolean
  readonly compressionType: number
  readonly backingFile: string | undefined
  readonly backingFormat: string | undefined
  readonly dataFile: string | undefined
  readonly dataFileRaw: boolean
}

/**
 * Judges creation options: EINVAL for values that mean nothing or contradict each other, EFBIG for a disk that no table of
 * these clusters maps, ENOTSUP for a compression that the host does not have.
 */
export function judgeNewImage(values: Qcow2CreateValues, services: HostServices): NewImage {
  const version = versionOf(values.compat) ?? 3
  const preallocation = preallocationOf(values)
  const compressionType = compressionOf(values.compression_type)
  const clusterBits = clusterBitsOf(values.cluster_size)
  if (values.extended_l2 && version === 2) throw needsV3('Extended L2 entries are only')
  judgeSubclusters(values.extended_l2, clusterBits)
  judgeBacking(values)
  const layout = createLayout(clusterBits, judgeRefcounts(values, version), values.extended_l2)
  judgeDataFile(values, version)
  if (version === 2 && compressionType !== COMPRESSION_ZLIB) throw needsV3('Non-zlib compression type is only')
  if (compressionType === COMPRESSION_ZSTD && services.zstd === undefined) {
    throw new BlockError('ENOTSUP', 'this host has no zstd', { op: 'create' })
  }
  const size = alignUp(values.size, SECTOR)
  if (l1EntriesFor(layout, size) * ENTRY_BYTES > MAX_L1_BYTES) {
    throw new BlockError('EFBIG', 'the L1 table would be too large', { op: 'create' })
  }
  return {
    version,
    layout,
    size,
    preallocation,
    lazyRefcounts: values.lazy_refcounts,
    compressionType,
    backingFile: values.backing_file,
    backingFormat: values.backing_fmt,
    dataFile: values.data_file,
    dataFileRaw: values.data_file_raw === true,
  }
}

/** The version a compatibility level stands for; undefined for none. EINVAL for one that is not known. */
export function versionOf(level: string | undefined): 2 | 3 | undefined {
  if (level === undefined) return undefined
  if (level === '0.10' || level === 'v2') return 2
  if (level === '1.1' || level === 'v3') return 3
  throw notAccepted('version', level)
}

/** A refcount width as its order. EINVAL for what is no power of two up to 64. */
export function refcountOrderOf(bits: number): number {
  if (isPowerOfTwo(bits) && bits <= MAX_REFCOUNT_BITS) return Math.log2(bits)
  throw invalid(`Refcount width must be a power of two and may not exceed ${MAX_REFCOUNT_BITS} bits`)
}

/** Data that must be readable without the metadata stands where the metadata says, from the start. */
function preallocationOf({ preallocation: word = 'off', data_file_raw: raw }: Qcow2CreateValues): Preallocation {
  const mode = PREALLOCATION_MODES.find((known) => known === word)
  if (mode === undefined) throw notAccepted('preallocation', word)
  return mode === 'off' && raw === true ? 'metadata' : mode
}

function compressionOf(word: string): number {
  if (word === 'zlib') return COMPRESSION_ZLIB
  if (word === 'zstd') return COMPRESSION_ZSTD
  throw notAccepted('compression-type', word)
}

/** A cluster size as its power of two. EINVAL for one that cannot be. */
export function clusterBitsOf(size: number): number {
  const [least, most] = [2 ** MIN_CLUSTER_BITS, 2 ** MAX_CLUSTER_BITS]
  if (isPowerOfTwo(size) && size >= least && size <= most) return Math.log2(size)
  throw invalid(`Cluster size must be a power of two between ${least} and ${most / KiB}k`)
}

/** EINVAL for subclusters in clusters that are too small for them. */
export function judgeSubclusters(extended: boolean, clusterBits: number): void {
  if (!extended || clusterBits >= MIN_EXTENDED_CLUSTER_BITS) return
  const least = 2 ** MIN_EXTENDED_CLUSTER_BITS
  throw invalid(`Extended L2 entries are only supported with cluster sizes of at least ${least} bytes`)
}

function judgeBacking(values: Qcow2CreateValues): void {
  const { backing_file: name, backing_fmt: format, preallocation = 'off', extended_l2: extended } = values
  // Without subclusters an allocated cluster hides the backing file as a whole.
  if (name !== undefined && preallocation !== 'off' && !extended) {
    throw invalid('Backing file and preallocation can only be used at the same time if extended_l2 is on')
  }
  if (name === undefined && format !== undefined) {
    throw invalid('Backing format cannot be used without backing file')
  }
}

/** The order of the refcounts. */
function judgeRefcounts({ lazy_refcounts: lazy, refcount_bits: bits }: Qcow2CreateValues, version: 2 | 3): number {
  if (version === 2 && lazy) throw needsV3('Lazy refcounts only')
  const order = refcountOrderOf(bits)
  if (version === 3 || bits === DEFAULT_REFCOUNT_BITS) return order
  throw invalid(
    'Different refcount widths than 16 bits require compatibility level 1.1 or above (use version=v3 or greater)',
  )
}

function judgeDataFile(values: Qcow2CreateValues, version: 2 | 3): void {
  const { backing_file: backing, data_file: name, data_file_raw: raw } = values
  if (raw === true && name === undefined) throw invalid('data-file-raw requires data-file')
  if (raw === true && backing !== undefined) {
    throw invalid('Backing file and data-file-raw cannot be used at the same time')
  }
  if (version === 2 && name !== undefined) throw needsV3('External data files are only')
}

function needsV3(what: string): BlockError {
  return invalid(`${what} supported with compatibility level 1.1 and above (use version=v3 or greater)`)
}

function notAccepted(parameter: string, value: string): BlockError {
  return invalid(`Parameter '${parameter}' does not accept value ${quoteOutside(value)}`)
}

function invalid(message: string): BlockError {
  return new BlockError('EINVAL', message, { op: 'create' })
}
