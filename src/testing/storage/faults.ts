// A filter that does damage on demand. Allowed damage: a request fails before it has any effect; it fails after a part of
// its effect (a torn write, in whole units from the front); it stays in flight until released; storage runs full. It never
// reports success for what was not done, and never changes bytes a request does not cover.

import { BDRV_BLOCK_OFFSET_VALID, BDRV_BLOCK_RAW } from '../../common/block-status.js'
import type { ErrnoName } from '../../common/errno.js'
import { BlockError } from '../../common/error.js'
import { sliceBytes } from '../../common/io-vector.js'
import type { Offset } from '../../common/units.js'
import { childLength, forwardedFlags, openFiltered } from '../../drivers/filters/forward.js'
import { type BlockDriver, defineDriver, type OpenedNode } from '../../global-state/driver.js'
import type { BlockChild } from '../../io/block-node.js'
import { discard } from '../../io/discard.js'
import type { Completion, NodeIo, StatusExtent } from '../../io/node-io.js'
import { read } from '../../io/read.js'
import { truncate } from '../../io/truncate.js'
import { write } from '../../io/write.js'
import { writeZeroes } from '../../io/write-zeroes.js'

/** Requests a rule can meet. */
export type FaultOp = 'read' | 'write' | 'write-zeroes' | 'discard' | 'flush' | 'truncate' | 'block-status'

/** When a rule strikes, and what it does. */
export interface FaultRule {
  /** Requests of these kinds count; all but block-status by default. */
  on?: FaultOp | readonly FaultOp[]
  /** Only requests that touch this range count. */
  range?: { offset: Offset; bytes: number }
  /** Strikes the n-th request that counts, from 1 on; 1 by default. */
  nth?: number
  /** How many requests it strikes; 1 by default, Infinity for all from the n-th on. */
  times?: number
  /** Fails with this code (EIO by default), unless `stick` alone is set. */
  fail?: ErrnoName
  /** A write first takes effect for this many bytes, then fails. */
  tearAfter?: number
  /** Holds the request until `release`; it then goes on, or fails where `fail` is set as well. */
  stick?: boolean
  /** Fails in a microtask rather than before the call returns. */
  later?: boolean
}

/** A rule in force. */
export class Fault {
  readonly rule: FaultRule
  /** Requests that counted. */
  seen = 0
  /** Requests it struck. */
  hits = 0
  /** Resolves when it holds a request for the first time. */
  readonly stuckOnce: Promise<void>
  readonly #held: (() => void)[] = []
  #noteStuck: () => void = () => {}

  constructor(rule: FaultRule) {
    this.rule = rule
    this.stuckOnce = new Promise((resolve) => {
      this.#noteStuck = resolve
    })
  }

  /** Requests it holds. */
  get stuck(): number {
    return this.#held.length
  }

  /** Lets what it holds go on. */
  release(): void {
    for (const go of this.#held.splice(0)) go()
  }

  /** A promise that `release` resolves. */
  hold(): Promise<void> {
    this.#noteStuck()
    return new Promise((resolve) => this.#held.push(resolve))
  }

  /** Counts a request; whether the rule strikes it. */
  strikes(op: FaultOp, offset: Offset, bytes: number): boolean {
    const { on, range, nth = 1, times = 1 } = this.rule
    if (on === undefined ? op === 'block-status' : typeof on === 'string' ? on !== op : !on.includes(op)) return false
    if (range !== undefined && !(offset < range.offset + range.bytes && range.offset < offset + bytes)) return false
    this.seen++
    if (this.seen < nth || this.hits >= times) return false
    this.hits++
    return true
  }
}

/** The faults of one or more nodes. */
export class FaultPlan {
  readonly faults: Fault[] = []
  /** Bytes that writes may still add behind the highest byte written so far; undefined: no end. */
  #room: number | undefined
  #highest = 0
  /** Every request that came by, struck or not. */
  calls = 0

  /** Puts a rule in force; the first rule that strikes decides. */
  add(rule: FaultRule): Fault {
    const fault = new Fault(rule)
    this.faults.push(fault)
    return fault
  }

  /** From now on growth by writes beyond `bytes` fails with ENOSPC. `writtenUpTo`: what is taken already. */
  limitSpace(bytes: number, writtenUpTo: Offset = this.#highest): void {
    this.#room = bytes
    this.#highest = writtenUpTo
  }

  /** Ends every rule and lets go what they hold. */
  clear(): void {
    this.#room = undefined
    for (const fault of this.faults.splice(0)) fault.release()
  }

  /** The rule that strikes a request. */
  meet(op: FaultOp, offset: Offset, bytes: number): Fault | undefined {
    this.calls++
    let struck: Fault | undefined
    for (const fault of this.faults) if (struck === undefined && fault.strikes(op, offset, bytes)) struck = fault
    return struck
  }

  /** Takes room for a write; ENOSPC where there is none. */
  takeSpace(offset: Offset, bytes: number): void {
    const growth = Math.max(offset + bytes - this.#highest, 0)
    if (this.#room !== undefined) {
      if (growth > this.#room) throw new BlockError('ENOSPC', 'the storage under test is full', { op: 'write' })
      this.#room -= growth
    }
    this.#highest += growth
  }
}

/** A filter driver whose nodes do what `plan` says. */
export function faultDriver(plan: FaultPlan, name = 'fault'): BlockDriver {
  return defineDriver({
    name,
    kind: 'filter',
    options: {},
    childNames: ['file'],
    async open(context): Promise<OpenedNode<FaultPlan>> {
      const file = await openFiltered(context)
      return {
        io: faultIo(file, plan),
        state: plan,
        truncateFlags: file.node.state.truncateFlags,
        ...forwardedFlags(file),
      }
    },
    close: (state) => state.clear(),
  })
}

function faultIo(file: BlockChild, plan: FaultPlan): NodeIo {
  const met = (
    op: FaultOp,
    offset: Offset,
    bytes: number,
    go: () => Completion,
    tear?: (bytes: number) => Completion,
  ) => {
    const fault = plan.meet(op, offset, bytes)
    return fault === undefined ? go() : strike(fault, op, bytes, go, tear)
  }
  return {
    length: () => childLength(file),
    read: (offset, into, flags) => met('read', offset, into.byteLength, () => read(file, offset, into, flags)),
    write: (offset, data, flags) => {
      const part = (bytes: number) => write(file, offset, sliceBytes(data, 0, bytes), flags)
      const whole = () => {
        plan.takeSpace(offset, data.byteLength)
        return write(file, offset, data, flags)
      }
      return met('write', offset, data.byteLength, whole, part)
    },
    writeZeroes: (offset, bytes, flags) => {
      const part = (torn: number) => writeZeroes(file, offset, torn, flags)
      const whole = () => {
        plan.takeSpace(offset, bytes)
        return writeZeroes(file, offset, bytes, flags)
      }
      return met('write-zeroes', offset, bytes, whole, part)
    },
    discard: (offset, bytes) => met('discard', offset, bytes, () => discard(file, offset, bytes)),
    flush: () => met('flush', 0, 0, () => undefined),
    blockStatus(offset, bytes) {
      const bits = BDRV_BLOCK_RAW | BDRV_BLOCK_OFFSET_VALID
      const extent: StatusExtent = { bits, bytes, map: offset, file: file.node }
      const pending = met('block-status', offset, bytes, () => undefined)
      return pending === undefined ? extent : pending.then(() => extent)
    },
    truncate: (length, options) => met('truncate', 0, length, () => truncate(file, length, options)),
  }
}

function strike(
  fault: Fault,
  op: FaultOp,
  bytes: number,
  go: () => Completion,
  tear: ((bytes: number) => Completion) | undefined,
): Completion {
  const { rule } = fault
  const fails = rule.fail !== undefined || rule.stick !== true
  const error = () => new BlockError(rule.fail ?? 'EIO', 'fault injected by a test', { op })
  if (rule.stick !== true && rule.later !== true && rule.tearAfter === undefined) throw error()
  return (async () => {
    if (rule.stick === true) await fault.hold()
    if (rule.tearAfter !== undefined && tear !== undefined) await tear(Math.min(rule.tearAfter, bytes))
    if (fails) throw error()
    await go()
  })()
}
