// The root of a graph as its user holds it: one edge that may be replaced live, or none; what it waits for, what it counts,
// and how it answers errors. Global state writes the edge; requests are the functions beside this file.

import type { Offset } from '../../common/units.js'
import type { BlockChild, ParentHooks } from '../block-node.js'
import { type IoEnvironment, wakeDrains } from '../environment.js'
import { AbortHub } from './abort-hub.js'
import { type Accounting, createAccounting, startLatency, stopLatency } from './accounting.js'
import type { BackendStatus, ErrorPolicy } from './error-policy.js'
import type { RootIssuer } from './root-request.js'
import { TurnBudget } from './turn-budget.js'
import { WaitingList } from './waiting-list.js'

/** What a device, export or job that holds a root wants to hear. All synchronous; none issues requests. */
export interface RootClient {
  /** A section has begun: stop taking new work. Called once, also where nested; at once where set while drained. */
  drainedBegin?(): void
  drainedEnd?(): void
  /** Whether work that was begun is still under way. Call {@link wakeDrain} when it no longer is. */
  busy?(): boolean
  resized?(length: Offset): void
}

/** How a root behaves. */
export interface BackendRootOptions {
  /** In messages and events. */
  name: string
  environment: IoEnvironment
  /** Requests wait while a section is open (default). False for a client with a `busy` hook, which stops by itself. */
  holdWhileDrained?: boolean
  client?: RootClient
  /** On by default. Off makes every write stable before it completes. */
  writeCache?: boolean
  /** Both `report` by default. */
  onReadError?: ErrorPolicy
  onWriteError?: ErrorPolicy
  allowWriteBeyondEof?: boolean
  /** For messages; "block device 'name'" by default. */
  describe?: string
}

/** A root. Fields marked so are written by others; all else by the files of this folder. */
export class BackendRoot implements ParentHooks {
  readonly node = undefined
  readonly environment: IoEnvironment
  /** Written by global state: the edge to the node it shows. Undefined: no medium, requests fail with ENOMEDIUM. */
  edge: BlockChild | undefined
  name: string
  holdWhileDrained: boolean
  writeCache: boolean
  onReadError: ErrorPolicy
  onWriteError: ErrorPolicy
  /** Writes may go beyond the end (with the resize permission); else that is EIO before anything is counted. */
  allowWriteBeyondEof: boolean
  /** Status after errors that stopped it; the first stays. */
  status: BackendStatus = 'ok'
  readonly accounting: Accounting = createAccounting()
  /** Latency is measured. */
  timed = false
  /** Requests in flight that came through here; those held or parked are not. */
  inFlight = 0
  /** Sections seen through the edge. */
  quiesced = 0
  closed = false
  /** Not 0: requests take the careful path. See {@link recomputeRootGates}. */
  gates = 0
  readonly held: WaitingList
  readonly parked: WaitingList
  readonly budget: TurnBudget
  /** Made as needed by root-request.ts. */
  readonly issuers: RootIssuer[] = []
  #client: RootClient | undefined
  readonly #description: string | undefined

  constructor(options: BackendRootOptions) {
    this.name = options.name
    this.environment = options.environment
    this.edge = undefined
    this.holdWhileDrained = options.holdWhileDrained ?? true
    this.writeCache = options.writeCache ?? true
    this.onReadError = options.onReadError ?? 'report'
    this.onWriteError = options.onWriteError ?? 'report'
    this.allowWriteBeyondEof = options.allowWriteBeyondEof ?? false
    const hub = new AbortHub()
    this.held = new WaitingList(hub, options.name)
    this.parked = new WaitingList(hub, options.name)
    this.budget = new TurnBudget(options.environment)
    this.#client = options.client
    this.#description = options.describe
    recomputeRootGates(this)
  }

  describe(): string {
    return this.#description ?? `block device '${this.name}'`
  }

  /** Who hears of sections and sizes. Setting one while a section is open tells it at once; the old one is released. */
  get client(): RootClient | undefined {
    return this.#client
  }

  set client(client: RootClient | undefined) {
    if (client === this.#client) return
    const before = this.#client
    this.#client = client
    if (this.quiesced === 0) return
    before?.drainedEnd?.()
    client?.drainedBegin?.()
    wakeDrains(this.environment)
  }

  drainedBegin(): void {
    this.quiesced++
    if (this.quiesced > 1) return
    recomputeRootGates(this)
    this.#client?.drainedBegin?.()
  }

  drainedEnd(): void {
    this.quiesced--
    if (this.quiesced > 0) return
    recomputeRootGates(this)
    // Before the hook: one that throws must not leave the held requests behind.
    if (this.held.size > 0) releaseSoon(this)
    this.#client?.drainedEnd?.()
  }

  busy(): boolean {
    return this.inFlight > 0 || this.#client?.busy?.() === true
  }

  resized(_edge: BlockChild, length: Offset): void {
    this.#client?.resized?.(length)
  }
}

const GATE_HELD = 1
const GATE_CLOSED = 2
const GATE_TRACKED = 4
const GATE_TIMED = 8

/** Recomputes from scratch whether requests of `root` must take the careful path. */
export function recomputeRootGates(root: BackendRoot): void {
  const holds = root.holdWhileDrained && (root.quiesced > 0 || root.held.size > 0)
  root.gates =
    (holds ? GATE_HELD : 0) |
    (root.closed ? GATE_CLOSED : 0) |
    (root.environment.tracker !== undefined ? GATE_TRACKED : 0) |
    (root.timed ? GATE_TIMED : 0)
}

/** Whether a request that comes now has to wait: a section is open, or others that waited are not started yet. */
export function mustHold(root: BackendRoot): boolean {
  return root.holdWhileDrained && (root.quiesced > 0 || root.held.size > 0)
}

/** Tells waiting drains that a client has come to rest. */
export function wakeDrain(root: BackendRoot): void {
  wakeDrains(root.environment)
}

/** Makes the root hold its requests while drained, or not. Requests that are held already are started. */
export function setHoldWhileDrained(root: BackendRoot, hold: boolean): void {
  root.holdWhileDrained = hold
  recomputeRootGates(root)
  if (!hold && root.held.size > 0) releaseSoon(root)
}

/** Begins (with empty histograms) or ends measuring latency. */
export function measureLatency(root: BackendRoot, on: boolean): void {
  root.timed = on
  if (on) startLatency(root.accounting)
  else stopLatency(root.accounting)
  recomputeRootGates(root)
}

/**
 * Ends a root: requests held or parked reject with ECANCELED and none starts any more. Those in flight run on; whoever
 * detaches the edge drains first.
 */
export function closeRoot(root: BackendRoot): void {
  root.closed = true
  recomputeRootGates(root)
  root.held.cancelAll('the backend was closed')
  root.parked.cancelAll('the backend was closed')
  recomputeRootGates(root)
}

/** Re-runs the requests that the `stop` policy parked, in order. The status stays until reset. */
export function resumeParked(root: BackendRoot): void {
  // One that fails again parks again, behind those that are looked at now.
  for (let count = root.parked.size; count > 0; count--) root.parked.startFirst()
}

/** Ends of sections issue no requests: held ones start in a microtask, each after another look whether it may. */
function releaseSoon(root: BackendRoot): void {
  queueMicrotask(() => {
    while (root.held.size > 0 && !(root.holdWhileDrained && root.quiesced > 0)) root.held.startFirst()
    recomputeRootGates(root)
  })
}
