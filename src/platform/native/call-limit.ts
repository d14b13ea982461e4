// A bound on native calls under way on other threads: koffi refuses more than 256 with an exception, and each has a stack.

/** Runs a call now or, where too many are under way, in turn. */
export type CallLimit = <T>(call: () => Promise<T>) => Promise<T>

const MAX_CALLS = 32

/** A limit of its own. */
export function createCallLimit(most = MAX_CALLS): CallLimit {
  const waiting: (() => void)[] = []
  let running = 0
  return async (call) => {
    // Who is woken takes over the place of the one that ended, so nobody can slip in between.
    if (running >= most) await new Promise<void>((resolve) => waiting.push(resolve))
    else running++
    try {
      return await call()
    } finally {
      const next = waiting.shift()
      if (next === undefined) running--
      else next()
    }
  }
}
