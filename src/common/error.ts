// World errors: what a file, a guest, an image or a user can cause. The code is the contract; the message is for people.

import { type ErrnoName, errnoMessage, isErrnoName } from './errno.js'

/** What a {@link BlockError} knows besides its code and message. */
export interface BlockErrorDetails {
  /** Name of the node (or backend) at which the error arose. */
  node?: string | undefined
  /** Operation that failed, as in `REQUEST_KINDS` or a graph function's name. */
  op?: string | undefined
  /** What a person could do about it. */
  hint?: string | undefined
  cause?: unknown
}

/** An error of the world outside: `code` is an errno name and is stable, `message` may change. */
export class BlockError extends Error {
  override readonly name = 'BlockError'
  readonly code: ErrnoName
  readonly node: string | undefined
  readonly op: string | undefined
  readonly hint: string | undefined

  constructor(code: ErrnoName, message: string, details: BlockErrorDetails = {}) {
    super(
      details.node === undefined ? message : `${details.node}: ${message}`,
      details.cause === undefined ? undefined : { cause: details.cause },
    )
    this.code = code
    this.node = details.node
    this.op = details.op
    this.hint = details.hint
  }
}

/**
 * Makes a {@link BlockError} of whatever was thrown: one is returned as it is (with the node's name added where it had
 * none); an error with an errno `code`, as Node's are, keeps that code; anything else becomes EIO.
 */
export function toBlockError(thrown: unknown, details: BlockErrorDetails = {}): BlockError {
  if (thrown instanceof BlockError) {
    if (thrown.node !== undefined || details.node === undefined) return thrown
    return new BlockError(thrown.code, thrown.message, {
      ...details,
      op: thrown.op ?? details.op,
      hint: thrown.hint,
      cause: thrown,
    })
  }
  const raw = (thrown as { code?: unknown } | null)?.code
  const code: ErrnoName = isErrnoName(raw) ? raw : raw === 'EOPNOTSUPP' ? 'ENOTSUP' : 'EIO'
  const said = thrown instanceof Error ? thrown.message : String(thrown)
  return new BlockError(code, said === '' ? errnoMessage(code) : said, { ...details, cause: thrown })
}

/** Quotes a string that came from outside for use in a message: control characters escaped, cut to 256 characters. */
export function quoteOutside(text: string): string {
  const cut = text.length > 256 ? `${text.slice(0, 253)}...` : text
  let out = ''
  for (const char of cut) {
    const point = char.codePointAt(0) ?? 0
    out += point < 0x20 || (point >= 0x7f && point < 0xa0) ? `\\x${point.toString(16).padStart(2, '0')}` : char
  }
  return `'${out}'`
}
