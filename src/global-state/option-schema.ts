// Schemas of options: what a driver or a tool accepts, how a value is read from JSON or from a command line's string, and
// what a person is told. A schema is data; reading it never opens anything.

/** How one option is read. `T` is its value after reading; undefined where it may be left out. */
export interface OptionField<T> {
  readonly type: string
  /** For help output. */
  readonly description?: string
  readonly default?: T
  readonly required: boolean
  /** Reads a value given as JSON or as a string; throws a plain Error whose message says what was expected. */
  read(raw: unknown): T
}

/** Options by name; keys are as the field writes them (`read-zeroes`, `cache.direct`). */
export type OptionSchema = { readonly [name: string]: OptionField<unknown> }

/** The values a schema yields. */
export type OptionValues<S extends OptionSchema> = {
  readonly [K in keyof S]: S[K] extends OptionField<infer T> ? T : never
}
