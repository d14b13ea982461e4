// File names as text. Nothing here looks at a file system; separators are those of POSIX, as names inside
// images are the same on every host.

import { BlockError, quoteOutside } from './error.js'

/** Whether a protocol prefix stands before the path: text up to a `:` that no `/` precedes. */
export function pathHasProtocol(path: string): boolean {
  const colon = path.indexOf(':')
  const slash = path.indexOf('/')
  return colon >= 0 && (slash < 0 || colon < slash)
}

/** Whether the path begins at the root. */
export function pathIsAbsolute(path: string): boolean {
  return path.startsWith('/')
}

/** `name` as seen from the folder of `base`: its last part is replaced, a protocol prefix stays. */
export function pathCombine(base: string, name: string): string {
  if (pathIsAbsolute(name)) return name
  const afterProtocol = pathHasProtocol(base) ? base.indexOf(':') + 1 : 0
  const folderEnd = Math.max(afterProtocol, base.lastIndexOf('/') + 1)
  return base.slice(0, folderEnd) + name
}

/**
 * The name under which an image called `backed` finds its backing file `backing`. Undefined where it has none. A relative
 * name needs a plain name to be relative to: EINVAL where `backed` is empty or a `json:` name.
 */
export function fullBackingFilename(backed: string, backing: string): string | undefined {
  if (backing === '') return undefined
  if (pathIsAbsolute(backing) || pathHasProtocol(backing)) return backing
  if (backed === '' || backed.startsWith('json:')) {
    throw new BlockError('EINVAL', `a relative backing file name means nothing for ${quoteOutside(backed)}`, {
      op: 'open',
      hint: 'give the backing file in the options, or an absolute name',
    })
  }
  return pathCombine(backed, backing)
}

/**
 * `filename` without a `prefix` such as `file:`; as it is where it has none. What remains is a plain path even where it
 * holds a colon: `./` then stands before it, or the text up to the colon would be taken for another protocol.
 */
export function stripPrefix(filename: string, prefix: string): string {
  if (!filename.startsWith(prefix)) return filename
  const rest = filename.slice(prefix.length)
  return pathHasProtocol(rest) ? `./${rest}` : rest
}
