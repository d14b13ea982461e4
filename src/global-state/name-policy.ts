// Names found inside an image are data. Whether one is opened is decided here, by the caller's policy, never by the image.

import { BlockError, quoteOutside } from '../common/error.js'

/** A name that an image mentions. */
export interface FoundName {
  /** The file name of the image that mentions it, where it is a plain one. */
  image: string | undefined
  /** What stands in the image. */
  name: string
  /** The name that would be opened. */
  resolved: string
  use: 'backing' | 'data-file'
}

/** Throws (or rejects) where a name may not be opened. Called before anything is opened. */
export type NamePolicy = (found: FoundName) => void | Promise<void>

/** Refuses protocol prefixes, absolute names and names that leave the image's folder. */
export const sameFolderPolicy: NamePolicy = (found) => {
  const refuse = (why: string) => {
    throw new BlockError(
      'EACCES',
      `${found.use} ${quoteOutside(found.name)} named by the image is not opened: ${why}`,
      {
        op: 'open',
        hint: 'give the child in the options, or open the graph with another namePolicy',
      },
    )
  }
  for (const char of found.name) if (char.charCodeAt(0) < 0x20) refuse('it holds control characters')
  if (/^[^/\\]*:/.test(found.name)) refuse('it has a protocol prefix')
  if (found.name.includes('/') || found.name === '..' || found.name === '.') refuse('it leaves the folder of the image')
}

/** Allows every plain file name; refuses protocol prefixes, `json:` and control characters. */
export const plainNamesPolicy: NamePolicy = (found) => {
  for (const char of found.name) {
    if (char.charCodeAt(0) >= 0x20) continue
    throw new BlockError('EACCES', `${found.use} ${quoteOutside(found.name)} named by the image is no file name`, {
      op: 'open',
    })
  }
  if (/^[^/\\]*:/.test(found.name)) {
    throw new BlockError(
      'EACCES',
      `${found.use} ${quoteOutside(found.name)} named by the image has a protocol prefix`,
      { op: 'open' },
    )
  }
}
