// Bits of the device status field (virtio 1.2, 2.1).

/** The guest has noticed the device. */
export const VIRTIO_CONFIG_S_ACKNOWLEDGE = 1
/** The guest knows how to drive it. */
export const VIRTIO_CONFIG_S_DRIVER = 2
/** The driver is set up; the device may look at the queues. */
export const VIRTIO_CONFIG_S_DRIVER_OK = 4
/** Feature negotiation is complete. */
export const VIRTIO_CONFIG_S_FEATURES_OK = 8
/** The device met an error from which only a reset recovers; set by the device. */
export const VIRTIO_CONFIG_S_NEEDS_RESET = 64
/** The guest has given up on the device. */
export const VIRTIO_CONFIG_S_FAILED = 128
