// The state of one open node of the file driver, and how its host calls are made and named in errors.

import { type BlockError, toBlockError } from '../../common/error.js'
import type { NodeIo } from '../../io/node-io.js'
import type { HostFile } from '../../platform/host-file.js'
import type { NativeFileCalls } from '../../platform/native/file-calls.js'
import type { CacheDoors } from './cache-doors.js'
import type { Descriptor } from './descriptor.js'
import type { ImageLocks } from './image-locks.js'

/** Which inode a node has open; the same from open to close, also across a reopen. */
export interface FileIdentity {
  readonly device: bigint
  readonly inode: bigint
}

/** One open file. */
export interface OpenFile {
  readonly nodeName: string
  readonly path: string
  readonly identity: FileIdentity
  readonly host: HostFile
  readonly native: NativeFileCalls | undefined
  /** Set for a block device: its `major:minor`, under which the host tells its size. */
  readonly device: string | undefined
  /** For as long as it is not direct. */
  readonly cacheDoors: CacheDoors
  /** Unset where images are not locked. */
  readonly locks: ImageLocks | undefined
  /** Replaced by a reopen, together with what follows. */
  descriptor: Descriptor
  writable: boolean
  /** The host's cache is bypassed. */
  direct: boolean
  /** Powers of two; 1 unless direct. */
  requestAlignment: number
  memoryAlignment: number
  /** Those that are open now. */
  doors: CacheDoors
  /** Host calls under way that are no transfers: flushes, holes, lengths. They may keep others from the file. */
  otherCalls: number
  /** What the file system turned out not to have; not tried again. */
  lacksZeroRange: boolean
  lacksPunchHole: boolean
  /** A flush failed: what was written before may be gone, so later flushes must not report success. */
  flushFailure: BlockError | undefined
}

const openFiles = new WeakMap<NodeIo, OpenFile>()

/** Remembers whose I/O half `io` is, for copies between two files. */
export function registerOpenFile(io: NodeIo, file: OpenFile): void {
  openFiles.set(io, file)
}

/** The open file behind the I/O half of a node, if it is one of this driver. */
export function openFileOf(io: NodeIo): OpenFile | undefined {
  return openFiles.get(io)
}

/** Makes one host call, counted on the descriptor; its failure becomes a BlockError that names node and operation. */
export async function hostCall<T>(file: OpenFile, op: string, call: (fd: number) => Promise<T>): Promise<T> {
  const { descriptor } = file
  const fd = descriptor.enter()
  file.otherCalls++
  try {
    return await call(fd)
  } catch (thrown) {
    throw fileError(file, op, thrown)
  } finally {
    file.otherCalls--
    descriptor.leave()
  }
}

/** What a host call threw, as an error of this node. */
export function fileError(file: OpenFile, op: string, thrown: unknown): BlockError {
  return toBlockError(thrown, { node: file.nodeName, op })
}
