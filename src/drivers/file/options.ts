// Options of an open file and of a new one; names as on QEMU command lines. cache.direct, cache.no-flush and read-only are
// generic options and arrive as open flags.

import { PREALLOCATION_MODES } from '../../common/option-names.js'
import {
  enumOption,
  flagOption,
  type OptionSchema,
  type OptionValues,
  sizeOption,
  stringOption,
} from '../../global-state/options/option-schema.js'

/** How requests reach the host. */
export const AIO_MODES = ['auto', 'threads', 'native', 'io_uring', 'inline'] as const

export const fileOptions = {
  filename: stringOption({ required: true, description: 'path of the file' }),
  locking: enumOption(['auto', 'on', 'off'], {
    default: 'auto',
    description: 'lock the image against other processes; auto: where the host can',
  }),
  aio: enumOption(AIO_MODES, {
    default: 'auto',
    description:
      'threads: all requests go to the thread pool; every other word: cached reads complete at once where possible; inline: so do writes, which may wait',
  }),
  native: flagOption({ default: true, description: 'use native calls (koffi) where they are available' }),
  'host-device': flagOption({ default: false, description: 'allow a block device' }),
} satisfies OptionSchema

export type FileOptions = OptionValues<typeof fileOptions>

/** In the order in which users are told of them. */
export const fileCreateOptions = {
  size: sizeOption({ required: true, description: 'Virtual disk size' }),
  nocow: flagOption({ default: false, description: 'Turn off copy-on-write (valid only on btrfs)' }),
  preallocation: enumOption(PREALLOCATION_MODES, {
    default: 'off',
    description: 'Preallocation mode (allowed values: off, falloc, full)',
  }),
  extent_size_hint: sizeOption({
    default: 1048576,
    description: 'Extent size hint for the image file, 0 to disable',
  }),
} satisfies OptionSchema

export type FileCreateOptions = OptionValues<typeof fileCreateOptions>
