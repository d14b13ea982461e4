// What a value may be after a crash: some certain values, and the operations since then, each of which may have happened or not,
// in their order. A flush makes those certain that were acknowledged before it; what came before them is then decided as well.

/** Something that changes the value; `serial` is when it was submitted. */
export interface Operation<T> {
  readonly serial: number
  /** When it was acknowledged; undefined while it is in flight, or where it failed. */
  acknowledged: number | undefined
  /** The values it may leave where it finds `before`. */
  apply(before: T): readonly T[]
}

/** The possible values of one thing. */
export class History<T> {
  #settled: readonly T[]
  #operations: Operation<T>[] = []
  readonly #same: (a: T, b: T) => boolean

  /** `value` is certain. `same` tells equal values. */
  constructor(value: T, same: (a: T, b: T) => boolean = Object.is) {
    this.#settled = [value]
    this.#same = same
  }

  /** Whether operations are not decided yet. */
  get unsettled(): boolean {
    return this.#operations.length > 0
  }

  /** Adds an operation that was just submitted. */
  submit(operation: Operation<T>): void {
    this.#operations.push(operation)
  }

  /** What may be found after a crash now. */
  allowed(): readonly T[] {
    return this.#fold(this.#operations, () => false)
  }

  /** What may be found without a crash: what was acknowledged has happened. */
  live(): readonly T[] {
    return this.#fold(this.#operations, ({ acknowledged }) => acknowledged !== undefined)
  }

  /** What was acknowledged before `serial` is certain from now on. Whether anything was. */
  settle(serial: number): boolean {
    return this.#settleAs(({ acknowledged }) => acknowledged !== undefined && acknowledged < serial)
  }

  /** One operation is certain from now on. */
  settleOne(operation: Operation<T>): boolean {
    return this.#settleAs((other) => other === operation)
  }

  #settleAs(certain: (operation: Operation<T>) => boolean): boolean {
    let last = this.#operations.length - 1
    while (last >= 0 && !certain(this.#operations[last] as Operation<T>)) last--
    if (last < 0) return false
    this.#settled = this.#fold(this.#operations.slice(0, last + 1), certain)
    this.#operations = this.#operations.slice(last + 1)
    return true
  }

  #fold(operations: readonly Operation<T>[], certain: (operation: Operation<T>) => boolean): readonly T[] {
    let values = this.#settled
    for (const operation of operations) {
      const next: T[] = certain(operation) ? [] : [...values]
      for (const value of values) {
        for (const after of operation.apply(value)) {
          if (!next.some((known) => this.#same(known, after))) next.push(after)
        }
      }
      values = next
    }
    return values
  }
}
