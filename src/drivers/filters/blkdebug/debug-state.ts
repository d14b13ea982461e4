// The state machine of blkdebug. An event matches rules of its name and of the current state; an inject-error rule that
// matches becomes active (the active rules of an earlier event end then) and fails the requests it covers.

import type { ErrnoName } from '../../../common/errno.js'
import { BlockError } from '../../../common/error.js'
import { BDRV_SECTOR_SIZE } from '../../../common/limits.js'
import type { Offset } from '../../../common/units.js'
import { settleAll } from '../../../io/settle-all.js'
import type { BlkdebugEvent, BlkdebugIoType } from './events.js'

/** Makes requests fail once its event has happened. */
export interface InjectErrorRule {
  event: BlkdebugEvent
  /** State in which the event counts; 0: any. */
  state: number
  /** Every type but block-status by default. */
  iotype: BlkdebugIoType | undefined
  errno: ErrnoName
  /** Fails only requests that cover this sector. */
  sector: number | undefined
  /** The rule is gone after one error. */
  once: boolean
  /** Fails before `read` or `write` returns, rather than in a later microtask. */
  immediately: boolean
  /** Fails the n-th request that it covers (from 1) and, without `once`, all after it. */
  nth: number
}

/** Changes the state when its event happens. */
export interface SetStateRule {
  event: BlkdebugEvent
  state: number
  newState: number
}

interface ArmedRule extends InjectErrorRule {
  seen: number
  spent: boolean
}

interface Suspended {
  tag: string
  go(): void
}

/** Hears that a request is held under `tag`, or goes on. */
export type TellSuspension = (what: 'suspended' | 'resumed', tag: string) => void

/** What one open blkdebug node keeps: rules, state, breakpoints and the requests they hold. */
export class BlkdebugState {
  readonly #inject: ArmedRule[]
  readonly #setState: readonly SetStateRule[]
  readonly #breakpoints: { event: string; tag: string }[] = []
  readonly #suspended: Suspended[] = []
  readonly #tell: TellSuspension
  #active: ArmedRule[] = []
  #state = 1

  constructor(inject: readonly InjectErrorRule[], setState: readonly SetStateRule[], tell: TellSuspension = () => {}) {
    this.#tell = tell
    this.#inject = inject.map((rule) => ({ ...rule, seen: 0, spent: false }))
    this.#setState = setState
    // Rules for the event `none` hold from the start.
    this.#arm('none')
    this.#enter('none')
  }

  /** The number that `state` of the rules is compared with; 1 at the start. */
  get state(): number {
    return this.#state
  }

  /** Takes an event; a promise where a breakpoint holds whoever announced it. */
  event(name: BlkdebugEvent): Promise<void> | undefined {
    this.#arm(name)
    const held = this.#breakpoints.length === 0 ? undefined : this.#suspend(name)
    this.#enter(name)
    return held
  }

  /**
   * Undefined: nothing fails. Otherwise throws, or gives a promise that rejects, with the error of the active rule that
   * covers the request.
   */
  check(iotype: BlkdebugIoType, offset: Offset, bytes: number): Promise<never> | undefined {
    for (const rule of this.#active) {
      if (!covers(rule, iotype, offset, bytes)) continue
      rule.seen++
      if (rule.seen < rule.nth) continue
      if (rule.once) {
        rule.spent = true
        this.#active = this.#active.filter((other) => other !== rule)
      }
      const error = new BlockError(rule.errno, `injected error of event '${rule.event}'`, { op: iotype })
      if (rule.immediately) throw error
      return Promise.reject(error)
    }
    return undefined
  }

  /** Suspends the next request that comes to `event`, under `tag`; with several breakpoints there, under each of them. */
  breakpoint(event: BlkdebugEvent, tag: string): void {
    this.#breakpoints.push({ event, tag })
  }

  /** Removes the breakpoints of `tag` and lets go what they hold. ENOENT where there is neither. */
  removeBreakpoint(tag: string): void {
    let found = false
    for (let index = this.#breakpoints.length - 1; index >= 0; index--) {
      if (this.#breakpoints[index]?.tag !== tag) continue
      this.#breakpoints.splice(index, 1)
      found = true
    }
    while (this.isSuspended(tag)) {
      this.resume(tag)
      found = true
    }
    if (!found) throw new BlockError('ENOENT', `no breakpoint '${tag}'`, { op: 'debug' })
  }

  /** Lets one request held under `tag` go. ENOENT where there is none. */
  resume(tag: string): void {
    const index = this.#suspended.findIndex((request) => request.tag === tag)
    const request = index < 0 ? undefined : this.#suspended.splice(index, 1)[0]
    if (request === undefined) throw new BlockError('ENOENT', `no request is suspended as '${tag}'`, { op: 'debug' })
    this.#tell('resumed', tag)
    request.go()
  }

  /** Whether a request is held under `tag`. */
  isSuspended(tag: string): boolean {
    return this.#suspended.some((request) => request.tag === tag)
  }

  /** Ends every breakpoint and lets everything go. */
  releaseAll(): void {
    this.#breakpoints.length = 0
    for (const request of this.#suspended.splice(0)) request.go()
  }

  #arm(name: BlkdebugEvent): void {
    const matched = this.#inject.filter((rule) => !rule.spent && rule.event === name && this.#isIn(rule.state))
    if (matched.length > 0) this.#active = matched
  }

  /** Every rule sees the state in which the event found it. */
  #enter(name: BlkdebugEvent): void {
    let next = this.#state
    for (const rule of this.#setState) if (rule.event === name && this.#isIn(rule.state)) next = rule.newState
    this.#state = next
  }

  #isIn(state: number): boolean {
    return state === 0 || state === this.#state
  }

  /** Every breakpoint of the event, the last one set first, holds the request. */
  #suspend(event: string): Promise<void> | undefined {
    const held: Promise<void>[] = []
    for (let index = this.#breakpoints.length - 1; index >= 0; index--) {
      const point = this.#breakpoints[index]
      if (point?.event !== event) continue
      this.#breakpoints.splice(index, 1)
      held.push(new Promise((go) => this.#suspended.push({ tag: point.tag, go })))
      this.#tell('suspended', point.tag)
    }
    return held.length === 0 ? undefined : settleAll(held, (each) => each)
  }
}

function covers(rule: ArmedRule, iotype: BlkdebugIoType, offset: Offset, bytes: number): boolean {
  if (rule.iotype === undefined ? iotype === 'block-status' : rule.iotype !== iotype) return false
  if (rule.sector === undefined) return true
  const at = rule.sector * BDRV_SECTOR_SIZE
  return bytes > 0 && at >= offset && at < offset + bytes
}
