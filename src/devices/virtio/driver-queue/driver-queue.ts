// The driver's side of a virtqueue, whatever its format: what a guest's driver calls. Positions, free descriptors and the
// chains in flight are the driver's own; of what the device writes only the used entries are read, each once, and checked.

import type { QueuePlan } from './queue-plan.js'

/** A queue as its driver has it. Chains are built by {@link begin}, {@link append} and {@link end}. */
export interface DriverQueue {
  readonly plan: QueuePlan
  /** In entries. */
  readonly size: number
  /** Descriptors not in use. */
  readonly free: number
  /** Chains the device has. */
  readonly inFlight: number
  /** Of the chain reaped last. */
  readonly usedLength: number

  /**
   * Starts a chain of `descriptors` descriptors; its head, or -1 where so many are not free. Where indirect descriptors
   * were agreed and there are tables, one of more than one needs a single one of the queue.
   */
  begin(descriptors: number): number

  /** Adds the next buffer of the chain: readable ones first. `bytes` is what the descriptor says, good or not. */
  append(address: number, bytes: number, writable: boolean): void

  /** Ends the chain, which has as many buffers as were begun; the device sees it after {@link publish}. */
  end(): void

  /** Shows the device what was added, by one store; whether it wants a kick for it. */
  publish(): boolean

  /** How many chains have come back and not been reaped. Throws as {@link reap} does. */
  pending(): number

  /**
   * Takes a chain back; its head, with `usedLength` set, or -1 where none has come back. Its descriptors are free again.
   * Throws EPROTO where the device returns what it does not have.
   */
  reap(): number

  /**
   * Asks to be notified when `after` more chains have come back; true where so many are there already. A packed queue
   * counts in descriptors, and takes the chains for equally long. Without an event index `after` is taken for 1.
   */
  enableNotifications(after?: number): boolean

  /** Asks for no notifications. */
  disableNotifications(): void
}
