// Changing what was chosen when the image was made. All that can be judged is judged before anything is changed; then one step
// after the other, each of which leaves a sound image.

import { BlockError, quoteOutside } from '../../../common/error.js'
import { BDRV_REQ_ZERO_WRITE } from '../../../common/request.js'
import type { AmendContext } from '../../../global-state/driver.js'
import {
  flagOption,
  integerOption,
  type OptionValues,
  sizeOption,
  stringOption,
} from '../../../global-state/options/option-schema.js'
import { amendEncryption, QCOW2_ENCRYPTION_AMEND_OPTIONS } from '../encryption/amend-encryption.js'
import { AUTOCLEAR_DATA_FILE_RAW, COMPATIBLE_LAZY_REFCOUNTS } from '../format/header.js'
import { barrier } from '../metadata/barrier.js'
import { settleMetadata } from '../metadata/flush.js'
import { clearDirtyBit, writeHeader } from '../metadata/header-update.js'
import { beginWriting } from '../metadata/writing.js'
import { changeRefcountWidth } from '../refcounts/refcount-width.js'
import { backingOf, hasDataFile, type Qcow2State } from '../state.js'
import { downgradeImage, upgradeImage } from './change-version.js'
import { DEFAULT_REFCOUNT_BITS, refcountOrderOf } from './create-options.js'
import { truncateImage } from './resize.js'

const OWN_OPTIONS = {
  size: sizeOption({ description: 'Virtual disk size' }),
  compat: stringOption({ description: 'Compatibility level (v2 [0.10] or v3 [1.1])' }),
  backing_file: stringOption({ description: 'File name of a base image' }),
  backing_fmt: stringOption({ description: 'Image format of the base image' }),
  data_file: stringOption({ description: 'File name of an external data file' }),
  data_file_raw: flagOption({ description: 'The external data file must stay valid as a raw image' }),
  lazy_refcounts: flagOption({ description: 'Postpone refcount updates' }),
  refcount_bits: integerOption({ description: 'Width of a reference count entry in bits' }),
}

/** What may be changed. */
export const QCOW2_AMEND_OPTIONS = { ...QCOW2_ENCRYPTION_AMEND_OPTIONS, ...OWN_OPTIONS }

type AmendValues = OptionValues<typeof OWN_OPTIONS>

/**
 * Changes the image by options that were read. EINVAL for what contradicts itself or the image, ENOTSUP for what it cannot
 * become, else as each step fails. The node is drained, and writable.
 */
export async function amendQcow2(
  state: Qcow2State,
  context: AmendContext,
  options: Record<string, unknown>,
): Promise<void> {
  const values = options as AmendValues
  const version = judge(state, values)
  const { size, refcount_bits: refcountBits, lazy_refcounts: lazy } = values
  await locked(state, async () => {
    if (version > state.header.version) await upgradeImage(state)
  })
  await amendEncryption(state, context, options)
  await locked(state, async () => {
    const order = refcountBits === undefined ? state.layout.refcountOrder : refcountOrderOf(refcountBits)
    if (order !== state.layout.refcountOrder) await changeRefcountWidth(state, order, context.progress)
    await nameDataFile(state, values)
    if (lazy !== undefined) await setLazyRefcounts(state, lazy)
  })
  if (size !== undefined) await resize(state, size)
  await locked(state, async () => {
    if (version < state.header.version) await downgradeImage(state, context.progress)
  })
}

function locked(state: Qcow2State, act: () => Promise<void>): Promise<void> {
  return state.lock.runExclusive(async () => {
    await beginWriting(state)
    await act()
  })
}

/** Judges the options against each other and the image. Gives the version the image is to have. */
function judge(state: Qcow2State, values: AmendValues): 2 | 3 {
  const { header, extensions } = state
  const { compat, refcount_bits: refcountBits, lazy_refcounts: lazy, data_file: dataFile } = values
  const version = versionOf(compat) ?? header.version
  if (refcountBits !== undefined) refcountOrderOf(refcountBits)
  const { backing_file: name, backing_fmt: format } = values
  if ((name ?? format) !== undefined && (name !== state.backingName || format !== extensions.backingFormat)) {
    throw invalid('Cannot amend the backing file', "You can use 'rebase' instead.")
  }
  if (refcountBits !== undefined && refcountBits !== DEFAULT_REFCOUNT_BITS && version === 2) {
    throw invalid(
      'Refcount widths other than 16 bits require compatibility level 1.1 or above (use compat=1.1 or greater)',
    )
  }
  if (values.data_file_raw === true && (header.autoclearFeatures & AUTOCLEAR_DATA_FILE_RAW) === 0n) {
    throw invalid('data-file-raw cannot be set on existing images')
  }
  if (dataFile !== undefined && !hasDataFile(state)) {
    throw invalid('data-file can only be set for images that use an external data file')
  }
  if (lazy === true && version === 2) {
    throw invalid('Lazy refcounts only supported with compatibility level 1.1 and above (use compat=1.1 or greater)')
  }
  return version
}

function versionOf(level: string | undefined): 2 | 3 | undefined {
  if (level === undefined) return undefined
  if (level === '0.10' || level === 'v2') return 2
  if (level === '1.1' || level === 'v3') return 3
  throw invalid(`Unknown compatibility level ${quoteOutside(level).slice(1, -1)}`)
}

/** Another name for the data file, or none; whether its data stands where a reader without the image expects it. */
async function nameDataFile(state: Qcow2State, values: AmendValues): Promise<void> {
  const { data_file: name, data_file_raw: raw } = values
  if (raw === false && (state.header.autoclearFeatures & AUTOCLEAR_DATA_FILE_RAW) !== 0n) {
    await writeHeader(state, { autoclearFeatures: state.header.autoclearFeatures & ~AUTOCLEAR_DATA_FILE_RAW })
  }
  if (name === undefined) return
  await writeHeader(state, {}, { extensions: { dataFile: name === '' ? undefined : name } })
}

async function setLazyRefcounts(state: Qcow2State, lazy: boolean): Promise<void> {
  const present = state.header.compatibleFeatures
  const compatibleFeatures = lazy ? present | COMPATIBLE_LAZY_REFCOUNTS : present & ~COMPATIBLE_LAZY_REFCOUNTS
  if (!lazy) {
    // What was postponed is made good first: from here on nobody expects it to be missing.
    await settleMetadata(state)
    await barrier(state)
    await clearDirtyBit(state)
  }
  if (compatibleFeatures !== present) await writeHeader(state, { compatibleFeatures })
  state.settings = { ...state.settings, lazyRefcounts: lazy }
}

async function resize(state: Qcow2State, size: number): Promise<void> {
  // Growth never brings data of a longer backing file into view.
  const uncovers = size > state.header.size && (backingOf(state)?.node.state.length ?? 0) > state.header.size
  const flags = uncovers ? BDRV_REQ_ZERO_WRITE : 0
  await truncateImage(state, size, { exact: true, preallocation: 'off', flags })
}

function invalid(message: string, hint?: string): BlockError {
  return new BlockError('EINVAL', message, { op: 'amend', hint })
}
