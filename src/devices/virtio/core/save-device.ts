// A device as plain data, and back: for a migration, a snapshot of a machine, an update of the process. A device is saved
// while it is paused and at rest: every head it took has been returned or was set aside and goes along.

import { BlockError } from '../../../common/error.js'
import { VIRTIO_F_RING_PACKED } from '../../../protocols/virtio/features.js'
import type { QueueConfig } from '../queue/queue-layout.js'
import { entriesTaken } from '../queue/queue-state.js'
import type { DeviceControl } from './device-control.js'
import type { DeviceModel } from './device-model.js'
import {
  DEVICE_STATE_VERSION,
  formatFeatures,
  parseFeatures,
  type SavedChain,
  type SavedQueue,
  type VirtioDeviceState,
} from './device-state.js'
import type { InterruptSource } from './interrupt-source.js'
import type { Lane } from './lane.js'
import { chainsLeft, type LeftChain } from './left-chains.js'
import type { QueueService } from './queue-service.js'
import type { VirtioTransport } from './transport.js'

/** What a device is, for those who save it. */
export interface DeviceParts {
  readonly model: DeviceModel
  readonly control: DeviceControl
  readonly service: QueueService
  readonly interrupts: InterruptSource
}

/** The state of a device that is paused and at rest. */
export function captureDevice(parts: DeviceParts): VirtioDeviceState {
  const { model, control, service, interrupts } = parts
  const { resetReason } = control
  const queues: SavedQueue[] = []
  for (const lane of service.lanes) {
    const { queue, config } = lane
    if (queue === undefined || config === undefined) continue
    const chains = chainsLeft(queue, model.setAside?.(lane) ?? []).map(savedChain)
    queues.push({ index: lane.index, config: structuredConfig(config), state: queue.save(), chains })
  }
  return {
    version: DEVICE_STATE_VERSION,
    deviceId: model.deviceId,
    status: control.status,
    features: formatFeatures(control.accepted),
    ...(resetReason === undefined ? {} : { resetReason }),
    interrupts: interrupts.status,
    configVector: interrupts.configVector,
    vectors: service.lanes.map((lane) => lane.vector),
    queues,
    model: model.save?.() ?? {},
  }
}

/**
 * Puts a paused device that is in its beginning where `state` says; `transport` is the device.
 * Throws EINVAL for the state of another kind of device, for features that this one does not offer, and for what no device
 * can have saved; the device has to be reset then.
 */
export function restoreDevice(
  parts: DeviceParts,
  state: VirtioDeviceState,
  transport: Pick<VirtioTransport, 'enableQueue' | 'refetch'>,
): void {
  const { model, control, service, interrupts } = parts
  if (state.deviceId !== model.deviceId) throw refuse(model, `device ID ${state.deviceId} is not ${model.deviceId}`)
  const features = parseFeatures(state.features)
  const missing = features & ~control.offered
  if (missing !== 0n) throw refuse(model, `the device cannot offer the features ${formatFeatures(missing)}`)
  if (!control.restore(state.status, features, state.resetReason)) {
    throw refuse(model, `no device has status ${state.status} with the features ${state.features}`)
  }
  if (control.negotiated) model.negotiated?.()
  model.load?.(state.model)
  interrupts.status = state.interrupts
  interrupts.configVector = state.configVector
  for (const [index, vector] of state.vectors.entries()) (service.lanes[index] as Lane).vector = vector
  for (const saved of state.queues) {
    transport.enableQueue(saved.index, saved.config, saved.state)
    if (!takeOver(transport, saved, control.agreed(VIRTIO_F_RING_PACKED))) {
      throw refuse(model, `queue ${saved.index} cannot have had the chains that were saved`)
    }
  }
}

/** Gives a queue the chains it had; false where it cannot have had them. */
function takeOver(transport: Pick<VirtioTransport, 'refetch'>, saved: SavedQueue, packed: boolean): boolean {
  const { index, state, chains, config } = saved
  const slots = chains.reduce((sum, chain) => sum + chain.slots, 0)
  if (slots > entriesTaken(state, config.size, packed)) return false
  const heads = chains.map(({ head }) => head)
  const lists = chains.map(({ slots: count, descriptors, done }) => ({
    slots: count,
    descriptors: Uint32Array.from(descriptors),
    ...(done === undefined ? {} : { done }),
  }))
  return transport.refetch(index, heads, lists) === heads.length
}

function savedChain({ head, list }: LeftChain): SavedChain {
  const { slots, descriptors, done } = list
  return { head, slots, descriptors: [...descriptors], ...(done === undefined ? {} : { done }) }
}

function structuredConfig(config: QueueConfig): QueueConfig {
  const { size, descriptorTable, availRing, usedRing } = config
  return { size, descriptorTable: { ...descriptorTable }, availRing: { ...availRing }, usedRing: { ...usedRing } }
}

function refuse(model: DeviceModel, message: string): BlockError {
  return new BlockError('EINVAL', `saved state of a device: ${message}`, { node: model.name, op: 'load' })
}
