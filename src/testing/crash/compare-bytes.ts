// Comparing contents word by word: crash runs do little else.

/** Index of the first byte that differs, or that one of the two lacks; undefined where they are equal. */
export function firstDifference(a: Uint8Array, b: Uint8Array): number | undefined {
  const bytes = Math.min(a.byteLength, b.byteLength)
  const at = differingWord(a, b, bytes)
  for (let index = at; index < bytes; index++) if (a[index] !== b[index]) return index
  return a.byteLength === b.byteLength ? undefined : bytes
}

/** Whether two contents are equal. */
export function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a === b || firstDifference(a, b) === undefined
}

/** Whether all bytes are zero. */
export function isZero(content: Uint8Array): boolean {
  if (content.byteOffset % 4 !== 0 || content.byteLength % 4 !== 0) return content.every((byte) => byte === 0)
  return wordsOf(content, content.byteLength).every((word) => word === 0)
}

/** A multiple of 4 up to which all bytes are equal. */
function differingWord(a: Uint8Array, b: Uint8Array, bytes: number): number {
  if (a.byteOffset % 4 !== 0 || b.byteOffset % 4 !== 0) return 0
  const left = wordsOf(a, bytes)
  const right = wordsOf(b, bytes)
  let index = 0
  while (index < left.length && left[index] === right[index]) index++
  return index * 4
}

function wordsOf(content: Uint8Array, bytes: number): Uint32Array {
  return new Uint32Array(content.buffer, content.byteOffset, Math.floor(bytes / 4))
}
