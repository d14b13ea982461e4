// Where a program of the host is.

import { accessSync, constants } from 'node:fs'
import { delimiter, join } from 'node:path'

/** For the superuser, and not always in the PATH of others. */
const MORE_FOLDERS = ['/usr/sbin', '/sbin']

/** The path of `name`; undefined where it is not installed. */
export function findProgram(name: string): string | undefined {
  for (const folder of [...(process.env.PATH ?? '').split(delimiter), ...MORE_FOLDERS]) {
    const path = join(folder, name)
    try {
      accessSync(path, constants.X_OK)
      return path
    } catch {
      // Not in this folder.
    }
  }
  return undefined
}
