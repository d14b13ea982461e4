// Device IDs (virtio 1.2, 5).

export const VIRTIO_ID_BLOCK = 2
export const VIRTIO_ID_RNG = 4
export const VIRTIO_ID_SCSI = 8
