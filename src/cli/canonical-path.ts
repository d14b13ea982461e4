// The one name of a file, where the host can tell.

import { realpathSync } from 'node:fs'

/** The path without links, `.` and `..`; as it is where it leads nowhere. */
export function canonicalPath(path: string): string {
  try {
    return realpathSync(path)
  } catch {
    return path
  }
}
