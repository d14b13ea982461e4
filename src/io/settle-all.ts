// Fan-out. A parent that left early would leave writes behind in returned buffers and drained sections, so the first
// error is thrown only when every call has settled.

import type { Completion } from './node-io.js'

/**
 * Calls `call` for every item at once and waits for all of them, also those that throw before they return a promise.
 * Then throws the error of the first failed item, in the order of the items, or returns all results.
 */
export function settleAll<T>(items: Iterable<T>, call: (item: T, index: number) => Completion): Promise<void>
export function settleAll<T, R>(items: Iterable<T>, call: (item: T, index: number) => R | Promise<R>): Promise<R[]>
export async function settleAll<T, R>(
  items: Iterable<T>,
  call: (item: T, index: number) => R | Promise<R>,
): Promise<unknown> {
  const started: Promise<R>[] = []
  for (const item of items) started.push(begin(call, item, started.length))
  const outcomes = await Promise.allSettled(started)
  const results: R[] = []
  for (const outcome of outcomes) {
    if (outcome.status === 'rejected') throw outcome.reason
    results.push(outcome.value)
  }
  return results
}

/** `async` turns a synchronous throw into a rejection, which is the point. */
async function begin<T, R>(call: (item: T, index: number) => R | Promise<R>, item: T, index: number): Promise<R> {
  return call(item, index)
}
