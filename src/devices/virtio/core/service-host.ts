// What a device's queues call back, whatever its kind.

import type { DeviceControl } from './device-control.js'
import type { DeviceModel } from './device-model.js'
import type { InterruptSource } from './interrupt-source.js'
import type { ServiceHost } from './queue-service.js'

/** The host of a device's queue service; `atRest` is the device's. */
export function serviceHost(
  model: DeviceModel,
  control: DeviceControl,
  interrupts: InterruptSource,
  atRest: () => void,
): ServiceHost {
  return {
    get running() {
      return control.running
    },
    notifyQueue: (lane) => interrupts.queue(lane),
    broken(reason) {
      // Virtio 1.2, 2.1.2: a driver that is up has to be told.
      if (control.needReset(reason)) interrupts.config()
    },
    atRest,
    released: () => model.released?.(),
  }
}
