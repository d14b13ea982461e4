// Events of a graph. They are told to whoever asked and to nobody else; a listener that throws does not disturb the graph.

import type { RequestKind } from './request.js'

/** A request as a report shows it. */
export interface RequestReport {
  node: string
  kind: RequestKind
  offset: number
  bytes: number
  serialising: boolean
  /** Milliseconds in flight, as far as the coarse clock of the graph tells. */
  ageMs: number
}

/** What a graph tells its listeners. */
export interface GraphEvents {
  /** Somebody waits longer than `stallAfter` for the main loop or for a drained section. */
  stall: {
    waitsFor: 'main-loop' | 'drain'
    waiter: string
    holder: string
    waitedMs: number
    requests: RequestReport[]
  }
  /** A request of a backend failed and its error policy has decided. */
  'io-error': {
    backend: string
    node: string
    kind: RequestKind
    action: 'report' | 'ignore' | 'stop'
    code: string
    message: string
  }
  /** A write passed the threshold of a node; the threshold is now off. */
  'write-threshold': { node: string; threshold: number; exceededBy: number }
  /** An image was found damaged. `fatal`: the node takes no more writes. */
  corrupted: { node: string; message: string; offset?: number; bytes?: number; fatal: boolean }
  /** The length of a node changed. */
  resized: { node: string; length: number }
  'node-opened': { node: string; driver: string }
  'node-closed': { node: string; driver: string }
  'drain-begin': { nodes: string[] }
  'drain-end': { nodes: string[] }
  /** A breakpoint holds a request of a test, or has let it go. */
  'request-suspended': { node: string; tag: string }
  'request-resumed': { node: string; tag: string }
  /** A virtio device went from one device status to another. 0 is a reset. */
  'virtio-status': { device: string; before: number; after: number; reason?: string }
  /** A driver and a virtio device have agreed; both are sets of feature bits. */
  'virtio-features': { device: string; offered: bigint; active: bigint }
  /** A promise or hook that nobody waits for failed. */
  'background-error': { node: string; message: string; error: unknown }
  /** A driver says something that a person may want to know, such as a host feature that is missing. */
  notice: { node: string; message: string }
  /** An image is not all that its user may take it for, such as one whose bitmaps cannot be trusted. */
  warning: { node: string; message: string }
}

export type GraphEventName = keyof GraphEvents

/** Told of every event. */
export type TraceSink = <K extends GraphEventName>(name: K, event: GraphEvents[K]) => void

/** A list of sinks that is a sink itself. */
export class Trace {
  readonly #sinks = new Set<TraceSink>()

  /** Whether anybody listens; costly reports are built only then. */
  get active(): boolean {
    return this.#sinks.size > 0
  }

  /** Adds a listener; call what is returned to remove it. */
  listen(sink: TraceSink): () => void {
    this.#sinks.add(sink)
    return () => {
      this.#sinks.delete(sink)
    }
  }

  /** Tells every listener. What a listener throws is dropped: it must not change what the library does. */
  emit<K extends GraphEventName>(name: K, event: GraphEvents[K]): void {
    for (const sink of this.#sinks) {
      try {
        sink(name, event)
      } catch {
        // A listener's fault is its own.
      }
    }
  }
}
