// Buffers of Node as what they claim to be: `slice` of a Buffer is a view, of a Uint8Array a copy, and universal code counts
// on the latter.

/** The same bytes, not as a Buffer. */
export function plainBytes(buffer: Uint8Array): Uint8Array {
  return new Uint8Array(buffer.buffer, buffer.byteOffset, buffer.byteLength)
}
