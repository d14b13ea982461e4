// How a device and its driver wake each other, as the host carries it out (virtio 1.2, 2.3 and 2.7.13.3): what an irqfd and
// an ioeventfd are to a hypervisor. Registers that say the same go through the transport.

/** No interrupt was asked for (virtio 1.2, 4.1.5.1.2). */
export const VIRTIO_MSI_NO_VECTOR = 0xffff

/**
 * Device to driver. `vector` is what the transport has set for the source, {@link VIRTIO_MSI_NO_VECTOR} by default. Both may
 * submit, kick and reset; what they throw becomes a `background-error` event.
 */
export interface GuestNotifier {
  /** The driver wants to know of used buffers of a queue. */
  notifyQueue(queueIndex: number, vector: number): void
  /** The configuration space or the device status changed. */
  notifyConfig?(vector: number): void
}

/** Driver to device, past the transport: a wire for one queue. */
export interface HostNotifier {
  /** Called when its queue begins to run. `kicked` may be called once for several notifications, and for none. */
  start(kicked: () => void): void
  /** Called when its queue no longer runs: `kicked` is of no use any more. */
  stop(): void
}
