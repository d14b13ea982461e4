// Requests that lie side by side in one file, as one host call: a call costs more than the bytes of a small request. What
// the call does not cover whole (it was short, or failed) is made again, each request for itself: only then is it known
// whose error it is, and where the file ends.

import { IOV_MAX } from '../../common/limits.js'
import { KiB } from '../../common/units.js'
import type { HostFile } from '../../platform/host-file.js'

/** A request as far as joining it goes. */
export interface JoinableRequest {
  readonly host: HostFile
  readonly fd: number
  readonly writing: boolean
  /** Byte of the file at which it begins, and bytes. */
  readonly position: number
  readonly left: number
  readonly segmentCount: number
  /** Adds its memory to that of the requests before it. */
  addSegments(list: Uint8Array[]): void
  /** Makes the host call for this request alone. */
  issue(): void
  /** All of it has been transferred. */
  finish(): void
}

/** Bytes of one call: for larger requests calls are not what takes the time, and other threads could serve some of them. */
const JOINED_BYTES = 512 * KiB

/** Whether `next` begins where the last of `requests` ends, and one call can take them all. */
export function mayJoin(requests: readonly JoinableRequest[], next: JoinableRequest): boolean {
  const last = requests[requests.length - 1]
  if (last === undefined || last.position + last.left !== next.position) return false
  if (last.fd !== next.fd || last.host !== next.host || last.writing !== next.writing) return false
  let bytes = next.left
  let segments = next.segmentCount
  for (const request of requests) {
    bytes += request.left
    segments += request.segmentCount
  }
  return bytes <= JOINED_BYTES && segments <= IOV_MAX
}

/** Issues requests that {@link mayJoin} has found to lie side by side. */
export function issueJoined(requests: readonly JoinableRequest[]): void {
  const first = requests[0]
  if (first === undefined) return
  if (requests.length === 1) {
    first.issue()
    return
  }
  const buffers: Uint8Array[] = []
  for (const request of requests) request.addSegments(buffers)
  const ended = (error: Error | null, transferred: number) => settleJoined(requests, error === null ? transferred : 0)
  try {
    if (first.writing) first.host.writev(first.fd, buffers, first.position, ended)
    else first.host.readv(first.fd, buffers, first.position, ended)
  } catch {
    settleJoined(requests, 0)
  }
}

function settleJoined(requests: readonly JoinableRequest[], transferred: number): void {
  let covered = transferred
  for (const request of requests) {
    covered -= request.left
    if (covered >= 0) request.finish()
    else request.issue()
  }
}
