// The main loop of a graph: one section at a time, first come first served. A section hands out a MainLoop, the capability
// that every graph-changing function takes. It dies with its section; late use asserts.

import { Mutex } from 'async-mutex'
import { AssertionFailure, assert } from '../common/assert.js'
import type { Timer } from '../common/clock.js'
import type { AsyncContext } from '../common/context-tracker.js'
import { BlockError } from '../common/error.js'
import type { IoEnvironment } from '../io/environment.js'

/** The door to the main loop of one graph. Its state is the mutex and who holds it. */
export class MainLoopGate {
  readonly environment: IoEnvironment
  readonly mutex = new Mutex()
  /** Label of the section that runs now. */
  holder: string | undefined
  /** When it began, by the graph's clock. */
  heldSince = 0
  /** Sections waiting for their turn. */
  waiting = 0

  constructor(environment: IoEnvironment) {
    this.environment = environment
  }
}

/** One running call of a global-state function inside a section. */
export interface MainLoopCall {
  /** Aborted when the section ends while the call is still running. */
  readonly signal: AbortSignal
  /** To be called after every await: rejects with ECANCELED once the section has ended. */
  resumed(): void
}

/** Proof that its holder runs in the main loop. Made by {@link MainLoop.section} alone. */
export class MainLoop {
  readonly #gate: MainLoopGate
  readonly #calls = new Set<Promise<unknown>>()
  readonly #names = new Map<Promise<unknown>, string>()
  readonly #ending = new AbortController()
  #live = true

  private constructor(gate: MainLoopGate) {
    this.#gate = gate
  }

  /** Whether the section is still running. */
  get live(): boolean {
    return this.#live
  }

  /** Asserts that this token may be used for `operation`, and on the graph of `environment` where one is given. */
  check(operation: string, environment?: IoEnvironment): void {
    assert(this.#live, `${operation}: the main-loop section of this token has ended`)
    assert(
      environment === undefined || environment === this.#gate.environment,
      `${operation}: this token belongs to another graph`,
    )
  }

  /** Runs `body` as a call registered with this section, so that the section cannot end under it unnoticed. */
  call<T>(operation: string, environment: IoEnvironment, body: (call: MainLoopCall) => Promise<T>): Promise<T> {
    this.check(operation, environment)
    const call: MainLoopCall = {
      signal: this.#ending.signal,
      resumed: () => {
        if (this.#ending.signal.aborted) throw new BlockError('ECANCELED', `${operation}: its main-loop section ended`)
      },
    }
    const running = body(call)
    this.#calls.add(running)
    this.#names.set(running, operation)
    const done = () => {
      this.#calls.delete(running)
      this.#names.delete(running)
    }
    running.then(done, done)
    return running
  }

  /**
   * Runs `fn` as a section of `gate`'s main loop and returns what it returns. Waits for earlier sections. A section that
   * returns while calls it began are still running aborts them, waits for them, and rejects.
   */
  static async section<T>(gate: MainLoopGate, fn: (main: MainLoop) => Promise<T>, label: string): Promise<T> {
    refuseReentry(gate, label)
    const stall = watchStall(gate, label)
    gate.waiting += 1
    const release = await gate.mutex.acquire()
    gate.waiting -= 1
    stall.cancel()
    gate.holder = label
    gate.heldSince = gate.environment.clock.now()
    const main = new MainLoop(gate)
    try {
      return await runTracked(gate, () => main.#run(fn, label))
    } finally {
      gate.holder = undefined
      release()
    }
  }

  async #run<T>(fn: (main: MainLoop) => Promise<T>, label: string): Promise<T> {
    let left: string[] = []
    try {
      const result = await fn(this)
      left = [...this.#names.values()]
      if (left.length === 0) return result
    } finally {
      this.#ending.abort()
      while (this.#calls.size > 0) await Promise.allSettled([...this.#calls])
      this.#live = false
    }
    throw new AssertionFailure(`${label}: the section ended while ${left.join(', ')} was still running`)
  }
}

function runTracked<T>(gate: MainLoopGate, fn: () => Promise<T>): Promise<T> {
  const { tracker } = gate.environment
  if (tracker === undefined) return fn()
  const context: AsyncContext = { kind: 'main-loop', subject: gate, scope: gate.environment, outer: tracker.current() }
  return tracker.run(context, fn).finally(() => {
    context.ended = true
  })
}

/** Order of waiting: token, then sections, then requests. Where the host tells what runs, the reverse is refused. */
function refuseReentry(gate: MainLoopGate, label: string): void {
  for (let at: AsyncContext | undefined = gate.environment.tracker?.current(); at !== undefined; at = at.outer) {
    if (at.scope !== gate.environment || at.ended === true) continue
    const inside = at.kind === 'main-loop' ? 'the main loop' : at.kind === 'section' ? 'a drained section' : 'a request'
    throw new BlockError('EDEADLK', `${label}: the main loop was asked for from inside ${inside}`, { op: 'main-loop' })
  }
}

function watchStall(gate: MainLoopGate, label: string): Timer {
  const { clock, stallAfterMs, trace } = gate.environment
  const began = clock.now()
  const report = () => {
    trace.emit('stall', {
      waitsFor: 'main-loop',
      waiter: label,
      holder: gate.holder ?? 'nobody',
      waitedMs: clock.now() - began,
      requests: [],
    })
  }
  return clock.after(stallAfterMs, report, true)
}
