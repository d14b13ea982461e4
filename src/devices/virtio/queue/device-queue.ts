// The device's side of a virtqueue, whatever its format: what a device's data path calls. One object lives from enabling
// to reset; the memory belongs to a guest that may change it at any moment.

import type { DescriptorChain } from '../memory/descriptor-chain.js'

/** Nothing is available. */
export const FETCH_EMPTY = 0
/** The chain has been filled. */
export const FETCH_CHAIN = 1
/** The driver broke the rules: `fault` says how. The device must ask for a reset. */
export const FETCH_FAULT = 2

/** In `chain.head`: no head was taken. */
export const NO_HEAD = -1

/** What {@link DeviceQueue.fetch} came back with. */
export type FetchResult = typeof FETCH_EMPTY | typeof FETCH_CHAIN | typeof FETCH_FAULT

/** Where a queue stands. Split: 16-bit free-running indices, wraps false. Packed: slots and wrap counters. */
export interface QueueState {
  availIndex: number
  availWrap: boolean
  usedIndex: number
  usedWrap: boolean
}

/** A running queue. */
export interface DeviceQueue {
  /** In entries. */
  readonly size: number
  /** Heads fetched and not yet returned; never more than `size`, since none is taken twice. */
  readonly inFlight: number
  /** False after a reset: the memory belongs to somebody else then, and nothing here touches it any more. */
  readonly live: boolean
  /** Why the queue is broken; no more is fetched from it. A device sets it for a request that has no place for a status. */
  fault: string | undefined

  /**
   * Takes the next available chain. On a fault `chain.head` is the head that was taken with it, to be given back, or
   * {@link NO_HEAD}.
   */
  fetch(chain: DescriptorChain): FetchResult

  /** Puts a head back with `length` bytes written, counted from the first writable byte. Shown by {@link publish}. */
  push(head: number, length: number): void

  /** Whether something was pushed that the driver has not been shown. */
  readonly unpublished: boolean

  /** Shows the driver all that was pushed; whether it wants to be notified. */
  publish(): boolean

  /** Asks the driver for no notifications. */
  suppressNotifications(): void

  /** Asks for a notification of the next chain, then looks again: true where something has come meanwhile. */
  allowNotifications(): boolean

  /** Where the queue stands. Another can go on from there once all heads are back and published. */
  save(): QueueState

  /** Ends this life of the queue. */
  retire(): void
}
