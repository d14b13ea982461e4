// Depth of synchronous calls from node to node. A chain of any length must not overflow the stack, so whoever is too
// deep continues from a microtask, where the stack is empty again.

/** Driver calls on the stack now. Raised around each call of a driver, lowered when it returns or throws. */
export const nesting = { depth: 0 }

/** Nodes that may nest before a request continues from a microtask. */
export const MAX_NESTING = 128

/** Calls a driver, one level deeper. */
export function nested<T>(call: () => T): T {
  nesting.depth++
  try {
    return call()
  } finally {
    nesting.depth--
  }
}

const EMPTY_STACK = Promise.resolve()

/** Resolves with an empty stack. */
export function unwound(): Promise<void> {
  return EMPTY_STACK
}
