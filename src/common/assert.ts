// Programmer errors. An assertion that fails is a bug of the caller or of this library, never of a guest, an image or
// the network; nothing below the top level catches it.

/** Thrown when the library is used against its contract. */
export class AssertionFailure extends Error {
  override readonly name = 'AssertionFailure'
}

/** Throws an {@link AssertionFailure} with `message` unless `condition` holds. */
export function assert(condition: unknown, message: string): asserts condition {
  if (!condition) throw new AssertionFailure(message)
}

/** Marks a branch the types rule out. */
export function unreachable(value: never, what = 'value'): never {
  throw new AssertionFailure(`unreachable: unexpected ${what} ${String(value)}`)
}
