// What the driver stands on: the host's files and, where there are any, native calls. Tests put their own in its place.

import { type HostFile, nodeHostFile } from '../../platform/host-file.js'
import { loadNativeFileCalls, type NativeFileCalls } from '../../platform/native/file-calls.js'

/** The host as the file driver sees it. */
export interface FilePlatform {
  readonly host: HostFile
  /** Asked at each open; undefined where there are no native calls. */
  native(): Promise<NativeFileCalls | undefined>
  /** Milliseconds of a clock that never goes back. */
  now(): number
}

const shared = { host: nodeHostFile, now: () => performance.now() }

/** The process's own host, with native calls where koffi is installed. */
export const nodeFilePlatform: FilePlatform = { ...shared, native: loadNativeFileCalls }

/** The same without native calls. */
export const plainFilePlatform: FilePlatform = { ...shared, native: () => Promise.resolve(undefined) }
