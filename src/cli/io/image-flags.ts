// The letters that say how an image is opened: the tool's command line and its command `open` share them.

import { BDRV_O_NOCACHE, type CacheMode, parseDiscardFlags } from '../../common/open-flags.js'
import { parseOptionString } from '../../global-state/options/option-text.js'
import type { FlatOptions } from '../../global-state/options/options.js'
import { aioMode, cacheMode, refuseCachedNative } from '../image-options.js'
import { openImage } from '../open-image.js'
import { printable, ToolError } from '../tool.js'
import type { Shell } from './shell.js'

/** How an image is opened. */
export interface ImageFlags {
  writable: boolean
  snapshot: boolean
  copyOnRead: boolean
  forceShare: boolean
  cache: CacheMode
  discard: 'unmap' | 'ignore'
  aio: string | undefined
}

/** Letters of {@link takeImageFlag}, for getopt. */
export const IMAGE_LETTERS = 'rsCnki:Ut:d:'

/** Writable, and every write stable when it is done. */
export function defaultImageFlags(): ImageFlags {
  return {
    writable: true,
    snapshot: false,
    copyOnRead: false,
    forceShare: false,
    cache: { flags: 0, writethrough: true },
    discard: 'unmap',
    aio: undefined,
  }
}

/** Takes one of {@link IMAGE_LETTERS} into `flags`; false for any other. Throws a ToolError for a word that is no mode. */
export function takeImageFlag(flags: ImageFlags, letter: string, argument: string): boolean {
  if (letter === 'r') flags.writable = false
  else if (letter === 's') flags.snapshot = true
  else if (letter === 'C') flags.copyOnRead = true
  else if (letter === 'n') flags.cache = { flags: BDRV_O_NOCACHE, writethrough: false }
  else if (letter === 'k') flags.aio = 'native'
  else if (letter === 'i') flags.aio = aioMode(argument)
  else if (letter === 'U') flags.forceShare = true
  else if (letter === 't') flags.cache = cacheMode(argument, `Invalid cache option: ${argument}`)
  else if (letter === 'd') flags.discard = discardMode(argument)
  else return false
  return true
}

function discardMode(word: string): ImageFlags['discard'] {
  const flags = parseDiscardFlags(word)
  if (flags === undefined) throw new ToolError(`Invalid discard option: ${word}`)
  return flags === 0 ? 'ignore' : 'unmap'
}

/** Options as a comma list; names without a value are flags that are on, which is warned about. */
export function optionList(shell: Shell, text: string): FlatOptions {
  for (const item of text.replaceAll(',,', '').split(',')) {
    if (item === '' || item.includes('=')) continue
    shell.warn(`short-form boolean option '${item}' deprecated`)
    shell.host.err(`Please use ${printable(item)}=on instead\n`)
  }
  return parseOptionString(text)
}

/** Opens the image that commands then work on. Throws a ToolError where that fails, or where one is open. */
export async function openForCommands(
  shell: Shell,
  { aio, ...flags }: ImageFlags,
  name: string | undefined,
  options: FlatOptions,
): Promise<void> {
  if (shell.image !== undefined) throw new ToolError("file open already, try 'help close'")
  const failure = name === undefined ? "can't open" : `can't open device ${name}`
  if (name !== undefined) refuseCachedNative(aio, flags.cache, failure)
  shell.image = await openImage(shell.session, { ...flags, aio, name, options, failure })
}
