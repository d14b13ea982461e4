// The runtime options of an image, as users of the format know them, and what they come to for one image.

import { BlockError } from '../../common/error.js'
import { isPowerOfTwo, KiB, MiB } from '../../common/units.js'
import {
  enumOption,
  flagOption,
  integerOption,
  type OptionField,
  type OptionValues,
  sizeOption,
  stringOption,
} from '../../global-state/options/option-schema.js'
import { COMPATIBLE_LAZY_REFCOUNTS, type Qcow2Header } from './format/header.js'
import { ENTRY_BYTES, type Layout } from './format/layout.js'
import {
  OVERLAP_FLAGS,
  OVERLAP_TEMPLATES,
  type OverlapFlag,
  type OverlapTemplate,
  templateFlags,
} from './metadata/overlap-flags.js'

/** `overlap-check`: a template's name, or `overlap-check.template` and single checks beside it. */
export interface OverlapChoice {
  template: OverlapTemplate
  flags: Partial<Record<OverlapFlag, boolean>>
}

const overlapOption: OptionField<OverlapChoice | undefined> = {
  type: OVERLAP_TEMPLATES.join('|'),
  description: 'which metadata writes are kept from overwriting; single checks as overlap-check.<structure>',
  required: false,
  structured: true,
  read(raw) {
    const template = enumOption(OVERLAP_TEMPLATES)
    if (typeof raw === 'string') return { template: template.read(raw) ?? 'cached', flags: {} }
    if (typeof raw !== 'object' || raw === null || Array.isArray(raw)) throw new Error('a template or single checks')
    const choice: OverlapChoice = { template: 'cached', flags: {} }
    for (const [key, value] of Object.entries(raw)) {
      const flag = OVERLAP_FLAGS.find((name) => name === key)
      if (key === 'template') choice.template = template.read(value) ?? 'cached'
      else if (flag === undefined) throw new Error(`one of ${OVERLAP_FLAGS.join(', ')}`)
      else choice.flags[flag] = flagOption({ default: true }).read(value)
    }
    return choice
  },
}

export const QCOW2_OPTIONS = {
  'lazy-refcounts': flagOption({ description: 'postpone refcounts; by default as the image says' }),
  'pass-discard-request': flagOption({ description: "pass the guest's discards on; by default with discard=unmap" }),
  'pass-discard-snapshot': flagOption({ default: true, description: 'discard what a deleted snapshot frees' }),
  'pass-discard-other': flagOption({ default: false, description: 'discard what is freed for other reasons' }),
  'discard-no-unref': flagOption({ default: false, description: 'a discard keeps the cluster allocated, as zeroes' }),
  'overlap-check': overlapOption,
  'cache-size': sizeOption({ description: 'memory for all metadata, in bytes' }),
  'l2-cache-size': sizeOption({ description: 'memory for L2 tables, in bytes; 32 MiB, or what the image needs' }),
  'l2-cache-entry-size': sizeOption({ description: 'bytes of an L2 table that are read at once' }),
  'refcount-cache-size': sizeOption({ description: 'memory for refcount blocks, in bytes; 4 clusters' }),
  'cache-clean-interval': integerOption({
    default: 600,
    max: 2 ** 31 - 1,
    description: 'seconds after which unused cache entries are dropped; 0 for never',
  }),
  'encrypt.format': stringOption({
    description: 'encryption expected of the image: aes or luks; aes also allows writing',
  }),
  'encrypt.key-secret': stringOption({ description: 'id of the secret that opens the image' }),
}

/** The options as given. */
export type Qcow2OptionValues = OptionValues<typeof QCOW2_OPTIONS>

/** What the options come to for one image. */
export interface Qcow2Settings {
  /** Refcounts are postponed behind the dirty bit. */
  readonly lazyRefcounts: boolean
  readonly discardNoUnref: boolean
  /** Freed clusters are discarded in the file below, by why they are freed. */
  readonly passDiscard: { readonly request: boolean; readonly snapshot: boolean; readonly other: boolean }
  readonly overlapChecks: ReadonlySet<OverlapFlag>
  /** In bytes: a power of two up to the cluster size. */
  readonly l2SliceBytes: number
  /** In entries of that size. */
  readonly l2CacheEntries: number
  /** In clusters. */
  readonly refcountCacheEntries: number
  /** In milliseconds; 0 for never. */
  readonly cacheCleanMs: number
}

const L2_CACHE_MAX = 32 * MiB
const MIN_L2_ENTRIES = 2
const MIN_REFCOUNT_ENTRIES = 4
const SMALL_SLICE = 4 * KiB

/** Judges the options for an image: EINVAL where they contradict each other or the image. `unmap`: the node passes discards. */
export function resolveSettings(
  options: Qcow2OptionValues,
  header: Qcow2Header,
  layout: Layout,
  unmap: boolean,
): Qcow2Settings {
  const lazy = options['lazy-refcounts'] ?? (header.compatibleFeatures & COMPATIBLE_LAZY_REFCOUNTS) !== 0n
  if (lazy && header.version < 3) {
    throw invalid('Lazy refcounts require a qcow2 image with at least qemu 1.1 compatibility level')
  }
  const overlap = options['overlap-check'] ?? { template: 'cached', flags: {} }
  const checks = templateFlags(overlap.template)
  for (const flag of OVERLAP_FLAGS) {
    if (overlap.flags[flag] === true) checks.add(flag)
    if (overlap.flags[flag] === false) checks.delete(flag)
  }
  return {
    lazyRefcounts: lazy,
    discardNoUnref: options['discard-no-unref'],
    passDiscard: {
      request: options['pass-discard-request'] ?? unmap,
      snapshot: options['pass-discard-snapshot'],
      other: options['pass-discard-other'],
    },
    overlapChecks: checks,
    ...cacheSizes(options, header, layout),
    cacheCleanMs: options['cache-clean-interval'] * 1000,
  }
}

function cacheSizes(options: Qcow2OptionValues, header: Qcow2Header, layout: Layout) {
  const { clusterSize } = layout
  // All L2 entries the disk can have, in whole tables.
  const needed = Math.ceil((Math.ceil(header.size / clusterSize) * layout.l2EntryBytes) / clusterSize) * clusterSize
  const given = { all: options['cache-size'], l2: options['l2-cache-size'], refcounts: options['refcount-cache-size'] }
  let l2 = Math.min(given.l2 ?? L2_CACHE_MAX, Math.max(needed, ENTRY_BYTES))
  let refcounts = given.refcounts ?? MIN_REFCOUNT_ENTRIES * clusterSize
  if (given.all !== undefined) {
    refuseContradictions(given.all, given.l2, given.refcounts)
    if (given.l2 !== undefined) refcounts = given.all - given.l2
    else if (given.refcounts !== undefined) l2 = Math.min(given.all - given.refcounts, needed)
    else {
      // Refcounts matter less: L2 tables take what they can use and leave the least.
      const least = MIN_REFCOUNT_ENTRIES * clusterSize
      l2 = Math.min(needed, Math.max(given.all - least, 0))
      refcounts = Math.max(given.all - l2, least)
    }
  }
  const sliceBytes = options['l2-cache-entry-size'] ?? (l2 < needed ? Math.min(clusterSize, SMALL_SLICE) : clusterSize)
  if (!isPowerOfTwo(sliceBytes) || sliceBytes < 512 || sliceBytes > clusterSize) {
    throw invalid(`L2 cache entry size must be a power of two between 512 and the cluster size (${clusterSize})`)
  }
  return {
    l2SliceBytes: sliceBytes,
    l2CacheEntries: Math.max(Math.floor(l2 / sliceBytes), MIN_L2_ENTRIES),
    refcountCacheEntries: Math.max(Math.floor(refcounts / clusterSize), MIN_REFCOUNT_ENTRIES),
  }
}

function refuseContradictions(all: number, l2: number | undefined, refcounts: number | undefined): void {
  if (l2 !== undefined && refcounts !== undefined) {
    throw invalid('cache-size, l2-cache-size and refcount-cache-size may not be set at the same time')
  }
  if (l2 !== undefined && l2 > all) throw invalid('l2-cache-size may not exceed cache-size')
  if (refcounts !== undefined && refcounts > all) throw invalid('refcount-cache-size may not exceed cache-size')
}

function invalid(message: string): BlockError {
  return new BlockError('EINVAL', message)
}
