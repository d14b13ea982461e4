// Buffers of a request: one Uint8Array, or a list of them that stands for their concatenation. Nothing is copied to make
// one of the other; a driver that cannot scatter or gather asks for `flatten`.

/** The bytes of a request. On the path of every request read `length`: a typed array answers `byteLength` ten times slower. */
export type Bytes = Uint8Array | IoVector

/** A list of byte views read and written as one range. */
export class IoVector {
  readonly buffers: readonly Uint8Array[]
  /** In bytes, as that of a Uint8Array. */
  readonly length: number
  readonly byteLength: number

  constructor(buffers: readonly Uint8Array[]) {
    let length = 0
    for (const buffer of buffers) length += buffer.length
    this.buffers = buffers
    this.length = length
    this.byteLength = length
  }
}

/** The views that make up `bytes`, in order. */
export function buffersOf(bytes: Bytes): readonly Uint8Array[] {
  return bytes instanceof Uint8Array ? [bytes] : bytes.buffers
}

/** The bytes from `start` to `end` (exclusive) as views of the same memory. */
export function sliceBytes(bytes: Bytes, start: number, end: number): Bytes {
  if (start === 0 && end === bytes.length) return bytes
  if (bytes instanceof Uint8Array) return bytes.subarray(start, end)
  const parts: Uint8Array[] = []
  let position = 0
  for (const buffer of bytes.buffers) {
    const from = Math.max(start - position, 0)
    const to = Math.min(end - position, buffer.length)
    if (from < to) parts.push(buffer.subarray(from, to))
    position += buffer.length
    if (position >= end) break
  }
  return parts.length === 1 && parts[0] !== undefined ? parts[0] : new IoVector(parts)
}

/** One range that reads as the parts one after the other. */
export function concatBytes(parts: readonly Bytes[]): Bytes {
  const buffers: Uint8Array[] = []
  for (const part of parts) {
    for (const buffer of buffersOf(part)) if (buffer.length > 0) buffers.push(buffer)
  }
  return buffers.length === 1 && buffers[0] !== undefined ? buffers[0] : new IoVector(buffers)
}

/** Fills `bytes` from `start` to `end` with zeroes. */
export function zeroBytes(bytes: Bytes, start = 0, end: number = bytes.length): void {
  fillBytes(bytes, 0, start, end)
}

/** Fills `bytes` from `start` to `end` with the byte `value`. */
export function fillBytes(bytes: Bytes, value: number, start = 0, end: number = bytes.length): void {
  if (bytes instanceof Uint8Array) {
    bytes.fill(value, start, end)
    return
  }
  for (const buffer of buffersOf(sliceBytes(bytes, start, end))) buffer.fill(value)
}

/** Copies all of `source` into `target` at `targetStart`; `target` must be long enough. */
export function copyBytes(target: Bytes, source: Bytes, targetStart = 0): void {
  if (target instanceof Uint8Array) {
    let position = targetStart
    for (const buffer of buffersOf(source)) {
      target.set(buffer, position)
      position += buffer.length
    }
    return
  }
  let position = 0
  const end = targetStart + source.length
  for (const buffer of buffersOf(sliceBytes(target, targetStart, end))) {
    let filled = 0
    for (const piece of buffersOf(sliceBytes(source, position, position + buffer.length))) {
      buffer.set(piece, filled)
      filled += piece.length
    }
    position += buffer.length
  }
}

/** `bytes` as one view: the same memory where it is one already, else a copy. */
export function flattenBytes(bytes: Bytes): Uint8Array {
  if (bytes instanceof Uint8Array) return bytes
  const flat = new Uint8Array(bytes.length)
  copyBytes(flat, bytes)
  return flat
}

/** Whether every byte is zero. */
export function isZeroBytes(bytes: Bytes): boolean {
  for (const buffer of buffersOf(bytes)) if (!isZeroBuffer(buffer)) return false
  return true
}

function isZeroBuffer(buffer: Uint8Array): boolean {
  const { byteLength, byteOffset } = buffer
  // Most data differs from zero early: the ends and the middle are looked at before the words in between.
  if (byteLength === 0) return true
  if (buffer[0] !== 0 || buffer[byteLength - 1] !== 0 || buffer[byteLength >>> 1] !== 0) return false
  const head = Math.min((4 - (byteOffset & 3)) & 3, byteLength)
  for (let i = 0; i < head; i++) if (buffer[i] !== 0) return false
  if (head === byteLength) return true
  const words = new Int32Array(buffer.buffer, byteOffset + head, (byteLength - head) >>> 2)
  for (let i = 0; i < words.length; i++) if (words[i] !== 0) return false
  for (let i = head + words.length * 4; i < byteLength; i++) if (buffer[i] !== 0) return false
  return true
}
