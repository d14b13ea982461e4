// Bytes as people write them down: for tables of bytes that were taken from a specification.

/** Bytes from hexadecimal digits; whatever else is in `text` only makes it easier to read. */
export function bytesOf(...text: string[]): Uint8Array<ArrayBuffer> {
  const digits = text.join('').replace(/[^0-9a-fA-F]/g, '')
  if (digits.length % 2 !== 0) throw new Error(`half a byte in ${text.join(' ')}`)
  return Uint8Array.from({ length: digits.length / 2 }, (_, at) =>
    Number.parseInt(digits.slice(at * 2, at * 2 + 2), 16),
  )
}

/** The digits of bytes, for comparing what is easier to read that way. */
export function hexOf(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('')
}

/** `text` in ASCII, padded with zeroes to `length` bytes. */
export function asciiOf(text: string, length = text.length): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(length)
  for (let at = 0; at < text.length; at++) bytes[at] = text.charCodeAt(at)
  return bytes
}

/** All parts, one behind the other. */
export function joined(...parts: Uint8Array[]): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(parts.reduce((sum, part) => sum + part.byteLength, 0))
  let at = 0
  for (const part of parts) {
    bytes.set(part, at)
    at += part.byteLength
  }
  return bytes
}
