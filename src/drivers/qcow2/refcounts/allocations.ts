// Allocations on their way: host clusters that are taken, and written, and that no L2 table names yet. Whoever wants the same
// guest clusters waits; all others go on.

import type { GuestOffset, HostOffset } from '../format/layout.js'

/** Guest clusters that are about to get host clusters, or new contents of their L2 entries. */
export interface Allocation {
  /** Cluster boundaries. */
  readonly guestStart: GuestOffset
  readonly guestEnd: GuestOffset
  /** Where `guestStart` will be. */
  readonly host: HostOffset
  /** The clusters have these host clusters already; only what their entries say of them changes. */
  readonly keepsHost: boolean
  /** Guest bytes that will be valid in the host clusters: data and what is copied beside it. */
  readonly validStart: GuestOffset
  readonly validEnd: GuestOffset
}

interface Pending {
  allocation: Allocation
  /** Made when somebody asks for it. */
  ended: Promise<void> | undefined
  resolve: (() => void) | undefined
}

/** The allocations on their way in one image. */
export class AllocationsInFlight {
  readonly #pending = new Set<Pending>()

  get count(): number {
    return this.#pending.size
  }

  /** Enters an allocation; call what is returned when it has been linked, or has failed. */
  enter(allocation: Allocation): () => void {
    const pending: Pending = { allocation, ended: undefined, resolve: undefined }
    this.#pending.add(pending)
    return () => {
      this.#pending.delete(pending)
      pending.resolve?.()
    }
  }

  /** Of those that overlap the range, the one that begins first: where, and when it is over. */
  conflict(start: GuestOffset, end: GuestOffset): { start: GuestOffset; ended: Promise<void> } | undefined {
    let first: Pending | undefined
    for (const pending of this.#pending) {
      const { guestStart, guestEnd } = pending.allocation
      if (guestStart >= end || start >= guestEnd) continue
      if (first === undefined || guestStart < first.allocation.guestStart) first = pending
    }
    if (first === undefined) return undefined
    const pending = first
    pending.ended ??= new Promise((resolve) => {
      pending.resolve = resolve
    })
    return { start: pending.allocation.guestStart, ended: pending.ended }
  }
}
