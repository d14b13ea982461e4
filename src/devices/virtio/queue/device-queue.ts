// The device's side of a virtqueue, whatever its format: what a device's data path calls. One object lives from enabling
// to reset; the memory belongs to a guest that may change it at any moment.

import type { DescriptorChain } from '../memory/descriptor-chain.js'
import type { OrderedHead } from './return-order.js'
import type { EarlierChain, EarlierList } from './taken-heads.js'

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

/** Bytes of buffers: what is available, or how much of it is enough to know. */
export interface QueueBytes {
  /** Bytes the device reads. */
  readable: number
  /** Bytes the device writes. */
  writable: number
}

/**
 * Where a queue stands. Split: free-running indices modulo 2^16, the wraps are false. Packed: slots of the ring with the
 * wrap counters that hold there.
 */
export interface QueueState {
  /** Next to be taken. */
  availIndex: number
  availWrap: boolean
  /** Next to be returned. */
  usedIndex: number
  usedWrap: boolean
}

/** A running queue. */
export interface DeviceQueue {
  /** Its index in the device. */
  readonly id: number
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

  /**
   * Puts a head back with `length` bytes written, counted from the first writable byte. Shown by {@link publish}; in order
   * where that was agreed: a head that is not its turn yet is held.
   */
  push(head: number, length: number): void

  /** Whether {@link publish} would show the driver something. */
  readonly unpublished: boolean

  /** Shows the driver all that was pushed; whether it wants to be notified. */
  publish(): boolean

  /** Asks the driver for no notifications. */
  suppressNotifications(): void

  /** Asks for a notification of the next chain, then looks again: true where something has come meanwhile. */
  allowNotifications(): boolean

  /**
   * Looks ahead without taking anything: the bytes of the chains that are available, up to the first at which both limits
   * are reached. Advice only, since the driver may change what was looked at; a chain that breaks the rules ends it.
   */
  availableBytes(limits: QueueBytes): QueueBytes

  /**
   * Chains that were taken in an earlier life and never returned: they are fetched before anything new, in this order.
   * For a packed ring, which may hold something else by now, `lists` are their descriptors. What cannot be a head, is here
   * already, or has no list is left out; how many were taken over. In order, they have to come in the order of
   * {@link ordered}, those that were held with how they ended: these are not fetched, but go back in their turn.
   */
  refetch(heads: readonly number[], lists?: readonly EarlierList[]): number

  /** Heads that {@link refetch} took over and that have not been fetched. */
  readonly earlier: number
  earlierChains(): readonly EarlierChain[]

  /** Entries of the ring that a head in flight occupies: more than one in a packed ring only. */
  slotsOf(head: number): number

  /** In order: the heads that have not gone back, the oldest first, with those that are held. Otherwise none. */
  ordered(): readonly OrderedHead[]

  /** Where the queue stands, all that was pushed being published. Heads still in flight are for {@link refetch}. */
  save(): QueueState

  /** Ends this life of the queue. */
  retire(): void
}
