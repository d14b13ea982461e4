// What the driver stands on: the host's files and, where there are any, native calls. Tests put their own in its place.

import { type HostFile, nodeHostFile } from '../../platform/host-file.js'
import { loadNativeFileCalls, type NativeFileCalls } from '../../platform/native/file-calls.js'

/** The host as the file driver sees it. */
export interface FilePlatform {
  readonly host: HostFile
  /** Asked at each open; undefined where there are no native calls. */
  native(): Promise<NativeFileCalls | undefined>
}

/** The process's own host, with native calls where koffi is installed. */
export const nodeFilePlatform: FilePlatform = { host: nodeHostFile, native: loadNativeFileCalls }

/** The same without native calls. */
export const plainFilePlatform: FilePlatform = { host: nodeHostFile, native: () => Promise.resolve(undefined) }
