// Which section or request a piece of code runs in, where the host can tell (Node: AsyncLocalStorage). With it the three
// mistakes that would hang, re-entering the main loop, a root request from inside one's own section, and a drain from
// one's own request, become immediate errors; without it they are reported as stalls.

/** A value that follows asynchronous control flow. */
export interface ContextTracker {
  /** Runs `fn`; while it and what it started run, `current` returns `context`. */
  run<T>(context: AsyncContext, fn: () => T): T
  current(): AsyncContext | undefined
}

/** What the code now running is part of. Contexts nest: `outer` is the one around. */
export interface AsyncContext {
  kind: 'main-loop' | 'section' | 'request'
  /** The main loop, section or request itself; compared by identity. */
  subject: object
  outer: AsyncContext | undefined
  /** The graph's environment where `subject` does not tell to which graph this belongs. */
  scope?: object
  /** Set once the section or request is over: code that it left behind is no longer part of it. */
  ended?: boolean
  /** Drained sections that were opened in this context and are not ended. */
  openSections?: Set<object>
}
