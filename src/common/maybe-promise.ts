// What may be there at once or come later: who gets a value goes on without waiting.

/** A value now, or a promise of it. */
export type MaybePromise<T> = T | Promise<T>
