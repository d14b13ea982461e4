// What is left of a device when it is saved: plain data that survives JSON. It may have come over a network or out of a
// file, so that reading it back believes nothing: every number is checked, and what does not fit is refused as a whole.

import { BlockError } from '../../../common/error.js'
import type { FeatureSet } from '../../../protocols/virtio/features.js'
import type { QueueState } from '../queue/device-queue.js'
import type { GuestAddress, QueueConfig } from '../queue/queue-layout.js'
import type { HeldCompletion } from '../queue/return-order.js'

/** Version of the form below. */
export const DEVICE_STATE_VERSION = 1

/** A chain that the device had taken and not returned. */
export interface SavedChain {
  head: number
  /** Slots of a packed ring that it occupies. */
  slots: number
  /** Its buffers as descriptors, four words each; none where the ring still has them. */
  descriptors: number[]
  /** In order: it had been done, and was held for its turn. */
  done?: HeldCompletion
}

/** A queue that ran. */
export interface SavedQueue {
  index: number
  config: QueueConfig
  state: QueueState
  /** Served again first: requests that the `stop` policy had set aside. */
  chains: SavedChain[]
}

/** What a kind of device adds. */
export type ModelState = Record<string, unknown>

/** A device. */
export interface VirtioDeviceState {
  version: number
  deviceId: number
  status: number
  /** What the driver accepted, in hexadecimal: `0x130000000`. */
  features: string
  resetReason?: string
  interrupts: number
  configVector: number
  /** By queue. */
  vectors: number[]
  queues: SavedQueue[]
  model: ModelState
}

/** The set as {@link VirtioDeviceState} has it. */
export function formatFeatures(features: FeatureSet): string {
  return `0x${features.toString(16)}`
}

/** The set of `text`. Throws EINVAL. */
export function parseFeatures(text: string): FeatureSet {
  if (!/^0x[0-9a-f]{1,16}$/.test(text)) throw bad('features')
  return BigInt(text)
}

/** Checks the form of a state of a device with `queues` queues. Throws EINVAL, naming what is wrong. */
export function parseDeviceState(data: unknown, queues: number): VirtioDeviceState {
  const from = record(data, 'state')
  if (from.version !== DEVICE_STATE_VERSION) throw bad('version')
  const { resetReason } = from
  if (resetReason !== undefined && typeof resetReason !== 'string') throw bad('resetReason')
  if (typeof from.features !== 'string') throw bad('features')
  return {
    version: DEVICE_STATE_VERSION,
    deviceId: number(from.deviceId, 0xffff, 'deviceId'),
    status: number(from.status, 0xff, 'status'),
    features: from.features,
    ...(resetReason === undefined ? {} : { resetReason }),
    interrupts: number(from.interrupts, 3, 'interrupts'),
    configVector: number(from.configVector, 0xffff, 'configVector'),
    vectors: list(from.vectors, queues, 'vectors').map((vector) => number(vector, 0xffff, 'vectors')),
    queues: list(from.queues, queues, 'queues').map((queue) => savedQueue(queue, queues)),
    model: record(from.model, 'model'),
  }
}

/** An integer of a model's state. Throws EINVAL. */
export function stateNumber(from: ModelState, name: string, most: number): number {
  return number(from[name], most, name)
}

/** A flag of a model's state. Throws EINVAL. */
export function stateFlag(from: ModelState, name: string): boolean {
  return flag(from[name], name)
}

function savedQueue(data: unknown, queues: number): SavedQueue {
  const from = record(data, 'queue')
  const config = record(from.config, 'config')
  const state = record(from.state, 'queue state')
  const size = number(config.size, 0xffff, 'size')
  return {
    index: number(from.index, queues - 1, 'index'),
    config: {
      size,
      descriptorTable: address(config.descriptorTable),
      availRing: address(config.availRing),
      usedRing: address(config.usedRing),
    },
    state: {
      availIndex: number(state.availIndex, 0xffff, 'availIndex'),
      availWrap: flag(state.availWrap, 'availWrap'),
      usedIndex: number(state.usedIndex, 0xffff, 'usedIndex'),
      usedWrap: flag(state.usedWrap, 'usedWrap'),
    },
    chains: list(from.chains, size, 'chains').map((chain) => savedChain(chain)),
  }
}

function savedChain(data: unknown): SavedChain {
  const from = record(data, 'chain')
  // A chain through an indirect table may have more descriptors than the queue has entries, but never more than that.
  const words = list(from.descriptors, 4 * 0x1_0000, 'descriptors')
  if (words.length % 4 !== 0) throw bad('descriptors')
  return {
    head: number(from.head, 0xffff, 'head'),
    slots: number(from.slots, 0xffff, 'slots'),
    descriptors: words.map((word) => number(word, 0xffff_ffff, 'descriptors')),
    ...(from.done === undefined ? {} : { done: heldCompletion(from.done) }),
  }
}

function heldCompletion(data: unknown): HeldCompletion {
  const from = record(data, 'done')
  return { length: number(from.length, 0xffff_ffff, 'done'), writable: number(from.writable, 0xffff_ffff, 'done') }
}

function address(data: unknown): GuestAddress {
  const from = record(data, 'address')
  return { high: number(from.high, 0xffff_ffff, 'address'), low: number(from.low, 0xffff_ffff, 'address') }
}

function record(data: unknown, name: string): Record<string, unknown> {
  if (typeof data !== 'object' || data === null || Array.isArray(data)) throw bad(name)
  return data as Record<string, unknown>
}

function list(data: unknown, most: number, name: string): unknown[] {
  if (!Array.isArray(data) || data.length > most) throw bad(name)
  return data
}

function number(data: unknown, most: number, name: string): number {
  if (typeof data !== 'number' || !Number.isSafeInteger(data) || data < 0 || data > most) throw bad(name)
  return data
}

function flag(data: unknown, name: string): boolean {
  if (typeof data !== 'boolean') throw bad(name)
  return data
}

function bad(name: string): BlockError {
  return new BlockError('EINVAL', `saved state of a device: ${name} is not what a device saves`, { op: 'load' })
}
