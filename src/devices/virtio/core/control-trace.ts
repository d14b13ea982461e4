// What becomes of a device's start, told to whoever traces it.

import type { ControlListener } from './device-control.js'
import type { DeviceModel } from './device-model.js'

/** Turns changes of status and the agreement on features into trace events. */
export function traceControl(model: DeviceModel): ControlListener {
  const { name, trace } = model
  return {
    statusChanged(before, after, reason) {
      trace?.emit('virtio-status', { device: name, before, after, ...(reason === undefined ? {} : { reason }) })
    },
    featuresAgreed(offered, active) {
      trace?.emit('virtio-features', { device: name, offered, active })
    },
  }
}
