// Reads and writes on the thread pool of the host: one promise per request, records and their callbacks reused. Short
// transfers are continued. A read that meets the end of the file is filled up with zeroes, as the file may have shrunk
// behind the cached length, and a length need not be a multiple of the sector size (readv(2), writev(2)).

import { BlockError } from '../../common/error.js'
import { type Bytes, zeroBytes } from '../../common/io-vector.js'
import { IOV_MAX } from '../../common/limits.js'
import type { HostFile } from '../../platform/host-file.js'
import type { Descriptor } from './descriptor.js'
import { fileError, type OpenFile } from './open-file.js'
import { issueSoon, type PoolRequest } from './pool-batch.js'

/** Reads into `into` from byte `start` of it on; `offset` belongs to its beginning. */
export function readFromPool(file: OpenFile, into: Bytes, start: number, offset: number): Promise<void> {
  return begin(file, false, into, start, offset)
}

/** Writes all of `data`. */
export function writeByPool(file: OpenFile, data: Bytes, offset: number): Promise<void> {
  return begin(file, true, data, 0, offset)
}

const MAX_SPARE = 256
const spare: Transfer[] = []
const NO_BUFFER = new Uint8Array(0)

let resolveSlot: () => void
let rejectSlot: (error: unknown) => void

function capture(resolve: () => void, reject: (error: unknown) => void): void {
  resolveSlot = resolve
  rejectSlot = reject
}

function begin(file: OpenFile, writing: boolean, bytes: Bytes, start: number, offset: number): Promise<void> {
  const transfer = spare.pop() ?? new Transfer()
  const promise = new Promise<void>(capture)
  transfer.begin(file, writing, bytes, start, offset, resolveSlot, rejectSlot)
  return promise
}

/** One request under way. Its fields are set anew by `begin`; between requests it holds on to no buffer. */
class Transfer implements PoolRequest {
  #file: OpenFile | undefined
  #host: HostFile | undefined
  #descriptor: Descriptor | undefined
  #fd = -1
  #writing = false
  #bytes: Bytes = NO_BUFFER
  /** Bytes of the request done. */
  #done = 0
  #offset = 0
  /** Segments left of a vector; the list is the request's own until a transfer ends inside a segment. */
  #segments: readonly Uint8Array[] | undefined
  #resolve: (() => void) | undefined
  #reject: ((error: unknown) => void) | undefined
  readonly #ended = (error: Error | null, transferred: number): void => this.#advance(error, transferred)

  begin(
    file: OpenFile,
    writing: boolean,
    bytes: Bytes,
    start: number,
    offset: number,
    resolve: () => void,
    reject: (error: unknown) => void,
  ): void {
    this.#file = file
    this.#host = file.host
    this.#descriptor = file.descriptor
    this.#writing = writing
    this.#bytes = bytes
    this.#done = start
    this.#offset = offset
    this.#segments = bytes instanceof Uint8Array ? undefined : segmentsFrom(bytes.buffers, start)
    this.#resolve = resolve
    this.#reject = reject
    this.#fd = file.descriptor.enter()
    issueSoon(this, file.descriptor.calls)
  }

  issue(): void {
    const host = this.#host as HostFile
    const position = this.#offset + this.#done
    try {
      if (this.#segments !== undefined) {
        const some = this.#segments.length > IOV_MAX ? this.#segments.slice(0, IOV_MAX) : this.#segments
        if (this.#writing) host.writev(this.#fd, some, position, this.#ended)
        else host.readv(this.#fd, some, position, this.#ended)
        return
      }
      const buffer = this.#bytes as Uint8Array
      const left = buffer.byteLength - this.#done
      if (this.#writing) host.write(this.#fd, buffer, this.#done, left, position, this.#ended)
      else host.read(this.#fd, buffer, this.#done, left, position, this.#ended)
    } catch (thrown) {
      this.#settle(thrown)
    }
  }

  #advance(error: Error | null, transferred: number): void {
    this.#done += transferred
    const left = this.#bytes.byteLength - this.#done
    if (isInterruption(error)) this.issue()
    else if (error !== null) this.#settle(error)
    else if (left === 0) this.#settle(undefined)
    else if (this.#isEnd(transferred)) this.#settleAtEnd(left)
    else {
      if (this.#segments !== undefined) this.#segments = segmentsFrom(this.#segments, transferred)
      this.issue()
    }
  }

  #settleAtEnd(left: number): void {
    if (!this.#writing) zeroBytes(this.#bytes, this.#done)
    this.#settle(
      this.#writing ? new BlockError('EIO', `the host stopped ${left} bytes before the end of a write`) : undefined,
    )
  }

  /** Nothing more comes. Direct I/O moves whole blocks, so a part of one is the end too, and no place to go on from. */
  #isEnd(transferred: number): boolean {
    if (transferred === 0) return true
    const unit = this.#file?.requestAlignment ?? 1
    return unit > 1 && transferred % unit !== 0
  }

  #settle(thrown: unknown): void {
    const file = this.#file as OpenFile
    const resolve = this.#resolve as () => void
    const reject = this.#reject as (error: unknown) => void
    const writing = this.#writing
    this.#descriptor?.leave()
    this.#file = undefined
    this.#host = undefined
    this.#descriptor = undefined
    this.#bytes = NO_BUFFER
    this.#segments = undefined
    this.#resolve = undefined
    this.#reject = undefined
    if (spare.length < MAX_SPARE) spare.push(this)
    if (thrown === undefined) resolve()
    else reject(fileError(file, writing ? 'write' : 'read', thrown))
  }
}

/** A signal came before anything was moved; libuv does not try a read again (read(2), EINTR). */
function isInterruption(error: Error | null): boolean {
  return error !== null && 'code' in error && error.code === 'EINTR'
}

/** The segments that are left when `done` bytes of the first ones are. */
function segmentsFrom(segments: readonly Uint8Array[], done: number): readonly Uint8Array[] {
  if (done === 0) return segments
  let rest = done
  for (let i = 0; i < segments.length; i++) {
    const segment = segments[i] as Uint8Array
    if (rest < segment.byteLength) {
      return rest === 0 ? segments.slice(i) : [segment.subarray(rest), ...segments.slice(i + 1)]
    }
    rest -= segment.byteLength
  }
  return []
}
