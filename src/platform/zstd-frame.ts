// One Zstandard frame at the start of a buffer, found and given a header that says how long its content is (RFC 8878, 3.1.1).
// Decoders of one pass then need no window and no guess, allocate what the caller expects, and refuse any other length.

import { BlockError } from '../common/error.js'

const MAGIC = [0x28, 0xb5, 0x2f, 0xfd] as const

/** Single segment, content length in four bytes. */
const OUR_DESCRIPTOR = 0xa0
const CHECKSUM_FLAG = 0x04
const SINGLE_SEGMENT_FLAG = 0x20
const RESERVED_FLAG = 0x08

/** Bytes of the header that {@link frameOf} gives a frame. */
const OUR_HEADER = 9

/** Bytes of the dictionary's number by its flag. */
const DICTIONARY_BYTES = [0, 1, 2, 4] as const

const BLOCK_RLE = 1
const BLOCK_RESERVED = 3

interface FrameHeader {
  length: number
  hasChecksum: boolean
  /** Undefined where the frame does not say. */
  contentBytes: number | undefined
}

/**
 * The frame that `data` begins with, of `bytes` bytes of content, less than 2^32, with nothing behind it. EIO where there is
 * no whole frame, it says to have another length, or it needs a dictionary.
 */
export function frameOf(data: Uint8Array, bytes: number): Uint8Array {
  const header = readHeader(data)
  if (header.contentBytes !== undefined && header.contentBytes !== bytes) {
    throw damaged(`it holds ${header.contentBytes} bytes instead of ${bytes}`)
  }
  const end = endOfBlocks(data, header.length) + (header.hasChecksum ? 4 : 0)
  if (end > data.length) throw damaged('it is cut off')
  const frame = new Uint8Array(OUR_HEADER + end - header.length)
  frame.set(MAGIC)
  frame[4] = OUR_DESCRIPTOR | (header.hasChecksum ? CHECKSUM_FLAG : 0)
  new DataView(frame.buffer).setUint32(5, bytes, true)
  frame.set(data.subarray(header.length, end), OUR_HEADER)
  return frame
}

function readHeader(data: Uint8Array): FrameHeader {
  if (!MAGIC.every((byte, index) => data[index] === byte)) throw damaged('it does not begin with one')
  const descriptor = byteAt(data, 4)
  if ((descriptor & RESERVED_FLAG) !== 0) throw damaged('its header has a reserved bit set')
  const isSingleSegment = (descriptor & SINGLE_SEGMENT_FLAG) !== 0
  const dictionaryBytes = DICTIONARY_BYTES[descriptor & 3] ?? 0
  const contentFlag = descriptor >> 6
  const lengthBytes = contentFlag === 0 ? (isSingleSegment ? 1 : 0) : 1 << contentFlag
  const dictionaryAt = isSingleSegment ? 5 : 6
  const lengthAt = dictionaryAt + dictionaryBytes
  for (let at = dictionaryAt; at < lengthAt; at += 1) {
    if (byteAt(data, at) !== 0) throw damaged('it needs a dictionary')
  }
  return {
    length: lengthAt + lengthBytes,
    hasChecksum: (descriptor & CHECKSUM_FLAG) !== 0,
    contentBytes:
      lengthBytes === 0 ? undefined : littleEndian(data, lengthAt, lengthBytes) + (lengthBytes === 2 ? 256 : 0),
  }
}

/** Where the last block ends: each has three bytes of header (last, kind, size). */
function endOfBlocks(data: Uint8Array, start: number): number {
  let at = start
  for (;;) {
    const header = littleEndian(data, at, 3)
    const kind = (header >> 1) & 3
    if (kind === BLOCK_RESERVED) throw damaged('it has a block of a reserved kind')
    at += 3 + (kind === BLOCK_RLE ? 1 : header >> 3)
    if ((header & 1) !== 0) return at
  }
}

/** Up to eight bytes; beyond 2^53 only its being too large counts. */
function littleEndian(data: Uint8Array, at: number, count: number): number {
  let value = 0
  for (let index = count - 1; index >= 0; index -= 1) value = value * 256 + byteAt(data, at + index)
  return value
}

function byteAt(data: Uint8Array, at: number): number {
  const byte = data[at]
  if (byte === undefined) throw damaged('it is cut off')
  return byte
}

function damaged(how: string): BlockError {
  return new BlockError('EIO', `zstd: no frame: ${how}`)
}
