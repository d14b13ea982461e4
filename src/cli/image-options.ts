// Options that several commands share, and what their values mean.

import { Option } from 'commander'
import { BDRV_O_NOCACHE, type CacheMode, parseAio, parseCacheMode } from '../common/open-flags.js'
import { readObjects, type SecretDefinition } from './objects.js'
import { ToolError } from './tool.js'

/** `-f fmt`. */
export function formatOption(): Option {
  return new Option('-f, --format <fmt>')
}

/** `-U`: open the image although others use it. */
export function forceShareOption(): Option {
  return new Option('-U, --force-share')
}

/** `--image-opts`: the operand is a list of options, not a file name. */
export function imageOptsOption(): Option {
  return new Option('--image-opts')
}

/** `--output=human|json`. */
export function outputOption(): Option {
  return new Option('--output <ofmt>').default('human').argParser((word: string) => {
    if (word === 'human' || word === 'json') return word
    throw new ToolError('--output must be used with human or json as argument.')
  })
}

/** Values of {@link outputOption}. */
export type OutputFormat = 'human' | 'json'

/** The options that say how an image is opened. */
export interface ImageOptionValues {
  format?: string
  forceShare?: boolean
  imageOpts?: boolean
  object?: string[]
}

/** Throws where an image is said to be options and yet given a format. */
export function refuseFormatWithImageOpts(format: string | undefined, imageOpts: boolean | undefined): void {
  if (imageOpts === true && format !== undefined) {
    throw new ToolError('--image-opts and --format are mutually exclusive')
  }
}

/** The cache mode of a word; `invalid` is the message for any other. */
export function cacheMode(word: string, invalid: string, exitCode = 1): CacheMode {
  const mode = parseCacheMode(word)
  if (mode === undefined) throw new ToolError(invalid, exitCode)
  return mode
}

/** The secrets that `--object` defines. Throws where a definition makes no sense, or has no use in this library. */
export function checkObjects(objects: readonly string[] | undefined): SecretDefinition[] {
  return readObjects(objects ?? [])
}

/** Checks a word for how requests reach the host. */
export function aioMode(word: string): string {
  if (parseAio(word) === undefined) throw new ToolError(`Invalid aio option: ${word}`)
  return word
}

/** Refuses the host's own asynchronous I/O where its cache is in the way; `failure` is what the message begins with. */
export function refuseCachedNative(aio: string | undefined, cache: CacheMode, failure: string): void {
  if (aio !== 'native' || (cache.flags & BDRV_O_NOCACHE) !== 0) return
  const message = 'aio=native was specified, but it requires cache.direct=on, which was not specified.'
  throw new ToolError(`${failure}: ${message}`)
}
