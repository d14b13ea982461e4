// Request kinds and request flags.

/** What a request does; the word used in errors, traces, accounting and the stall report. */
export type RequestKind =
  | 'read'
  | 'write'
  | 'write-zeroes'
  | 'discard'
  | 'flush'
  | 'truncate'
  | 'block-status'
  | 'copy-range'
  | 'vmstate'

/** A bit set of `BDRV_REQ_*`. */
export type RequestFlags = number

/** Read: populate this layer with what was read from below. Consumed by the generic layer. */
export const BDRV_REQ_COPY_ON_READ = 0x1
/** Write without a buffer: the range becomes zero. On a truncate: the grown area must read zero. */
export const BDRV_REQ_ZERO_WRITE = 0x2
/** A zero write may deallocate, provided the range then reads zero. Stripped unless the node honours discard. */
export const BDRV_REQ_MAY_UNMAP = 0x4
/** Hint of the C interface; accepted nowhere here (buffers need no registration). The value stays reserved. */
export const BDRV_REQ_REGISTERED_BUF = 0x8
/** Data is stable when the request completes; emulated by a flush where the driver lacks it. */
export const BDRV_REQ_FUA = 0x10
/** Store compressed; ENOTSUP where the driver has no compressed write. */
export const BDRV_REQ_WRITE_COMPRESSED = 0x20
/** The write does not change visible content; needs WRITE_UNCHANGED or WRITE permission. */
export const BDRV_REQ_WRITE_UNCHANGED = 0x40
/** Write only: wait for all overlapping requests and make others wait. */
export const BDRV_REQ_SERIALISING = 0x80
/** Fail with ENOTSUP rather than emulate slowly; a misaligned request fails at once. */
export const BDRV_REQ_NO_FALLBACK = 0x100
/** With COPY_ON_READ: copy up only, do not fill the buffer. */
export const BDRV_REQ_PREFETCH = 0x200
/** With SERIALISING on an aligned request: EBUSY instead of waiting. */
export const BDRV_REQ_NO_WAIT = 0x400

export const BDRV_REQ_MASK = 0x7ff
