// Generic options of a node and how a child inherits them from its parent by role.

import {
  BDRV_CHILD_COW,
  BDRV_CHILD_FILTERED,
  BDRV_CHILD_METADATA,
  type ChildRole,
  type DriverKind,
} from '../../common/child-role.js'
import { BlockError, quoteOutside } from '../../common/error.js'
import {
  BDRV_O_ALLOW_RDWR,
  BDRV_O_AUTO_RDONLY,
  BDRV_O_NO_FLUSH,
  BDRV_O_NO_IO,
  BDRV_O_NOCACHE,
  BDRV_O_PROTOCOL,
  BDRV_O_RDWR,
  type OpenFlags,
  parseDiscardFlags,
} from '../../common/open-flags.js'
import { DETECT_ZEROES_MODES, type DetectZeroes } from '../../common/option-names.js'
import { enumOption, flagOption, type OptionValues, readOptions, stringOption } from '../options/option-schema.js'
import type { FlatOptions, OptionScalar } from '../options/options.js'

/** Options every node has, whatever its driver. */
export const GENERIC_OPTIONS = {
  driver: stringOption({ description: 'format, protocol or filter driver' }),
  'node-name': stringOption({ description: 'name of the node; generated where it is left out' }),
  'read-only': flagOption({ default: false, description: 'refuse writes' }),
  'auto-read-only': flagOption({ default: false, description: 'fall back to read-only where writing is impossible' }),
  'cache.direct': flagOption({ default: false, description: 'bypass the host page cache' }),
  'cache.no-flush': flagOption({ default: false, description: 'ignore flush requests to the disk' }),
  discard: enumOption(['off', 'ignore', 'on', 'unmap'], { default: 'ignore', description: 'honour discard requests' }),
  'detect-zeroes': enumOption(DETECT_ZEROES_MODES, {
    default: 'off',
    description: 'turn writes of zeroes into zero writes',
  }),
  'force-share': flagOption({ default: false, description: 'let others do what they like with the image' }),
} as const

export type GenericOptions = OptionValues<typeof GENERIC_OPTIONS>

/** Where a node being opened stands. */
export interface Inheritance {
  parentKind: DriverKind
  parentFlags: OpenFlags
  parentOptions: FlatOptions
  role: ChildRole
}

/** The options of a child with those of its parent filled in where the child has none of its own. */
export function inheritOptions(own: FlatOptions, from: Inheritance): FlatOptions {
  const result: Record<string, OptionScalar> = { ...own }
  const inherit = (key: string, value: OptionScalar | undefined) => {
    if (result[key] === undefined && value !== undefined) result[key] = value
  }
  inherit('cache.direct', from.parentOptions['cache.direct'])
  inherit('cache.no-flush', from.parentOptions['cache.no-flush'])
  inherit('force-share', from.parentOptions['force-share'])
  if ((from.role & BDRV_CHILD_COW) !== 0) {
    inherit('read-only', true)
    inherit('auto-read-only', false)
  } else {
    inherit('read-only', from.parentOptions['read-only'])
    inherit('auto-read-only', from.parentOptions['auto-read-only'])
  }
  // The node above decides whether a discard reaches this one.
  inherit('discard', 'unmap')
  return result
}

/** Flags a child inherits. */
export function inheritedFlags(from: Inheritance): OpenFlags {
  let flags = from.parentFlags & BDRV_O_NO_IO
  // What a filter stands in for, its child is.
  if ((from.role & BDRV_CHILD_FILTERED) !== 0) flags |= from.parentFlags & BDRV_O_PROTOCOL
  const metadata = (from.role & BDRV_CHILD_METADATA) !== 0
  if (metadata || (from.parentKind === 'format' && (from.role & BDRV_CHILD_COW) === 0)) flags |= BDRV_O_PROTOCOL
  if (metadata) flags &= ~BDRV_O_NO_IO
  return flags
}

/** Reads the generic options out of `flat`; `rest` is what belongs to the driver and to children. */
export function readGenericOptions(
  flat: FlatOptions,
  where: { driver: string; node: string | undefined },
): { values: GenericOptions; rest: FlatOptions } {
  const { values, rest } = readOptions(GENERIC_OPTIONS, flat, where)
  const refuse = (message: string) => {
    throw new BlockError('EINVAL', message, { node: where.node, op: 'open' })
  }
  if (values['force-share'] && !values['read-only']) refuse('force-share=on can only be used with read-only images')
  if (values['detect-zeroes'] === 'unmap' && (parseDiscardFlags(values.discard) ?? 0) === 0) {
    refuse("detect-zeroes 'unmap' needs discard 'unmap'")
  }
  return { values, rest }
}

/** The open flags that follow from generic options. */
export function flagsFromOptions(values: GenericOptions, inherited: OpenFlags): OpenFlags {
  let flags = inherited
  if (!values['read-only']) flags |= BDRV_O_RDWR | BDRV_O_ALLOW_RDWR
  if (values['auto-read-only']) flags |= BDRV_O_AUTO_RDONLY
  if (values['cache.direct']) flags |= BDRV_O_NOCACHE
  if (values['cache.no-flush']) flags |= BDRV_O_NO_FLUSH
  return flags | (parseDiscardFlags(values.discard) ?? 0)
}

/** The generic options in force, as a child may inherit them. */
export function effectiveOptions(values: GenericOptions): FlatOptions {
  return {
    'read-only': values['read-only'],
    'auto-read-only': values['auto-read-only'],
    'cache.direct': values['cache.direct'],
    'cache.no-flush': values['cache.no-flush'],
    discard: values.discard,
    'detect-zeroes': values['detect-zeroes'],
    'force-share': values['force-share'],
  }
}

/** Checks the word of a `detect-zeroes` option given outside an option object. */
export function parseDetectZeroes(word: string): DetectZeroes {
  const found = DETECT_ZEROES_MODES.find((mode) => mode === word)
  if (found === undefined) throw new BlockError('EINVAL', `${quoteOutside(word)} is no detect-zeroes mode`)
  return found
}
