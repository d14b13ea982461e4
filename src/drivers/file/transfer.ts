// Reads and writes on the thread pool of the host, one promise per request. Short transfers are continued. A read that meets
// the end of the file is filled up with zeroes, as the file may have shrunk behind the cached length, and a length need not
// be a multiple of the sector size (readv(2), writev(2)).

import { BlockError } from '../../common/error.js'
import { type Bytes, zeroBytes } from '../../common/io-vector.js'
import { IOV_MAX } from '../../common/limits.js'
import type { HostFile } from '../../platform/host-file.js'
import type { Descriptor } from './descriptor.js'
import type { JoinableRequest } from './joined-transfer.js'
import { fileError, type OpenFile } from './open-file.js'
import { issueSoon } from './pool-batch.js'

/** Reads into `into` from byte `start` of it on; `offset` belongs to its beginning. */
export function readFromPool(file: OpenFile, into: Bytes, start: number, offset: number): Promise<void> {
  return new Transfer(file, false, into, start, offset).begin()
}

/** Writes `data` from byte `start` of it on; `offset` belongs to its beginning. */
export function writeByPool(file: OpenFile, data: Bytes, start: number, offset: number): Promise<void> {
  return new Transfer(file, true, data, start, offset).begin()
}

/** One request under way. */
class Transfer implements JoinableRequest {
  readonly host: HostFile
  readonly fd: number
  readonly writing: boolean
  readonly #file: OpenFile
  readonly #descriptor: Descriptor
  readonly #bytes: Bytes
  readonly #offset: number
  /** Bytes of the request done. */
  #done: number
  /** Segments left of a vector; the list is the request's own until a transfer ends inside a segment. */
  #segments: readonly Uint8Array[] | undefined
  #resolve: (() => void) | undefined
  #reject: ((error: unknown) => void) | undefined

  constructor(file: OpenFile, writing: boolean, bytes: Bytes, start: number, offset: number) {
    this.host = file.host
    this.fd = file.descriptor.enter()
    this.writing = writing
    this.#file = file
    this.#descriptor = file.descriptor
    this.#bytes = bytes
    this.#offset = offset
    this.#done = start
    this.#segments = bytes instanceof Uint8Array ? undefined : segmentsFrom(bytes.buffers, start)
    this.#resolve = undefined
    this.#reject = undefined
  }

  begin(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#resolve = resolve
      this.#reject = reject
      issueSoon(this, this.#descriptor.calls)
    })
  }

  get position(): number {
    return this.#offset + this.#done
  }

  get left(): number {
    return this.#bytes.length - this.#done
  }

  get segmentCount(): number {
    return this.#segments === undefined ? 1 : this.#segments.length
  }

  addSegments(list: Uint8Array[]): void {
    if (this.#segments !== undefined) for (const segment of this.#segments) list.push(segment)
    else {
      const buffer = this.#bytes as Uint8Array
      list.push(this.#done === 0 ? buffer : buffer.subarray(this.#done))
    }
  }

  issue(): void {
    const { host, fd, position, left } = this
    const ended = (error: Error | null, transferred: number) => this.#advance(error, transferred)
    try {
      if (this.#segments !== undefined) {
        const some = this.#segments.length > IOV_MAX ? this.#segments.slice(0, IOV_MAX) : this.#segments
        if (this.writing) host.writev(fd, some, position, ended)
        else host.readv(fd, some, position, ended)
        return
      }
      const buffer = this.#bytes as Uint8Array
      if (this.writing) host.write(fd, buffer, this.#done, left, position, ended)
      else host.read(fd, buffer, this.#done, left, position, ended)
    } catch (thrown) {
      this.#fail(thrown)
    }
  }

  finish(): void {
    this.#descriptor.leave()
    this.#resolve?.()
  }

  #fail(thrown: unknown): void {
    this.#descriptor.leave()
    this.#reject?.(fileError(this.#file, this.writing ? 'write' : 'read', thrown))
  }

  #advance(error: Error | null, transferred: number): void {
    this.#done += transferred
    const { left } = this
    if (isInterruption(error)) this.issue()
    else if (error !== null) this.#fail(error)
    else if (left === 0) this.finish()
    else if (this.#isEnd(transferred)) this.#finishAtEnd(left)
    else {
      if (this.#segments !== undefined) this.#segments = segmentsFrom(this.#segments, transferred)
      this.issue()
    }
  }

  #finishAtEnd(left: number): void {
    if (this.writing) {
      this.#fail(new BlockError('EIO', `the host stopped ${left} bytes before the end of a write`))
      return
    }
    zeroBytes(this.#bytes, this.#done)
    this.finish()
  }

  /** Nothing more comes. Direct I/O moves whole blocks, so a part of one is the end too, and no place to go on from. */
  #isEnd(transferred: number): boolean {
    if (transferred === 0) return true
    const unit = this.#file.requestAlignment
    return unit > 1 && transferred % unit !== 0
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
    if (rest < segment.length) {
      return rest === 0 ? segments.slice(i) : [segment.subarray(rest), ...segments.slice(i + 1)]
    }
    rest -= segment.length
  }
  return []
}
