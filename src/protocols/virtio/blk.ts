// Requests of the block device (virtio 1.2, 5.2.6): types, statuses, the 16-byte header in front and the 16-byte segments
// of discard and write zeroes.

export const VIRTIO_BLK_T_IN = 0
export const VIRTIO_BLK_T_OUT = 1
export const VIRTIO_BLK_T_SCSI_CMD = 2
export const VIRTIO_BLK_T_FLUSH = 4
export const VIRTIO_BLK_T_GET_ID = 8
export const VIRTIO_BLK_T_GET_LIFETIME = 10
export const VIRTIO_BLK_T_DISCARD = 11
export const VIRTIO_BLK_T_WRITE_ZEROES = 13
export const VIRTIO_BLK_T_SECURE_ERASE = 14
export const VIRTIO_BLK_T_ZONE_APPEND = 15
export const VIRTIO_BLK_T_ZONE_REPORT = 16
export const VIRTIO_BLK_T_ZONE_OPEN = 18
export const VIRTIO_BLK_T_ZONE_CLOSE = 20
export const VIRTIO_BLK_T_ZONE_FINISH = 22
export const VIRTIO_BLK_T_ZONE_RESET = 24
export const VIRTIO_BLK_T_ZONE_RESET_ALL = 26
/** Flag of old drivers on any type; ignored. */
export const VIRTIO_BLK_T_BARRIER = 0x8000_0000

export const VIRTIO_BLK_S_OK = 0
export const VIRTIO_BLK_S_IOERR = 1
export const VIRTIO_BLK_S_UNSUPP = 2

/** Bytes of the device ID string of GET_ID; NUL-terminated only where shorter. */
export const VIRTIO_BLK_ID_BYTES = 20
/** Bytes of the answer to GET_LIFETIME. */
export const VIRTIO_BLK_LIFETIME_BYTES = 6
/** Bytes of the request header. */
export const VIRTIO_BLK_HEADER_BYTES = 16
/** Bytes of a segment of discard and write zeroes. */
export const VIRTIO_BLK_SEGMENT_BYTES = 16
/** Segment flag: the range may be deallocated. Write zeroes only. */
export const VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP = 1

/** Unit of every sector number of the protocol, whatever the block size. */
export const VIRTIO_BLK_SECTOR_BYTES = 512

/** The header of a request. */
export interface VirtioBlkHeader {
  type: number
  sectorHigh: number
  sectorLow: number
}

/** Reads a header from byte `offset`; the reserved word is skipped. */
export function decodeBlkHeader(view: DataView, offset: number): VirtioBlkHeader {
  return {
    type: view.getUint32(offset, true),
    sectorLow: view.getUint32(offset + 8, true),
    sectorHigh: view.getUint32(offset + 12, true),
  }
}

/** Writes a header at byte `offset`. */
export function encodeBlkHeader(view: DataView, offset: number, header: VirtioBlkHeader): void {
  view.setUint32(offset, header.type, true)
  view.setUint32(offset + 4, 0, true)
  view.setUint32(offset + 8, header.sectorLow, true)
  view.setUint32(offset + 12, header.sectorHigh, true)
}

/** A segment of discard and write zeroes. */
export interface VirtioBlkSegment {
  sectorHigh: number
  sectorLow: number
  /** In sectors. */
  sectors: number
  flags: number
}

/** Reads a segment from byte `offset`. */
export function decodeBlkSegment(view: DataView, offset: number): VirtioBlkSegment {
  return {
    sectorLow: view.getUint32(offset, true),
    sectorHigh: view.getUint32(offset + 4, true),
    sectors: view.getUint32(offset + 8, true),
    flags: view.getUint32(offset + 12, true),
  }
}

/** Writes a segment at byte `offset`. */
export function encodeBlkSegment(view: DataView, offset: number, segment: VirtioBlkSegment): void {
  view.setUint32(offset, segment.sectorLow, true)
  view.setUint32(offset + 4, segment.sectorHigh, true)
  view.setUint32(offset + 8, segment.sectors, true)
  view.setUint32(offset + 12, segment.flags, true)
}

/** How worn the storage is (virtio 1.2, 5.2.6). */
export interface VirtioBlkLifetime {
  /** Reserved blocks consumed: 0 unknown, 1 below 80 %, 2 80 %, 3 90 %. */
  preEolInfo: number
  /** Wear of SLC cells in tenths: 0 unknown, 1 up to 10 %, 11 exceeded. */
  lifetimeTypeA: number
  /** The same of MLC cells. */
  lifetimeTypeB: number
}

/** Whether none of the values is reserved. */
export function isBlkLifetime(lifetime: VirtioBlkLifetime): boolean {
  const { preEolInfo, lifetimeTypeA, lifetimeTypeB } = lifetime
  return isUpTo(preEolInfo, 3) && isUpTo(lifetimeTypeA, 11) && isUpTo(lifetimeTypeB, 11)
}

/** The answer to GET_LIFETIME. */
export function encodeBlkLifetime(lifetime: VirtioBlkLifetime): Uint8Array {
  const bytes = new Uint8Array(VIRTIO_BLK_LIFETIME_BYTES)
  const view = new DataView(bytes.buffer)
  view.setUint16(0, lifetime.preEolInfo, true)
  view.setUint16(2, lifetime.lifetimeTypeA, true)
  view.setUint16(4, lifetime.lifetimeTypeB, true)
  return bytes
}

/**
 * The byte offset of a u64 sector number; undefined where it lies at or beyond 2^53, which no device here has. A sector
 * is 512 bytes, so that a high half above 0xfff cannot be met by any image.
 */
export function sectorToBytes(sectorHigh: number, sectorLow: number): number | undefined {
  if (sectorHigh > 0xfff) return undefined
  return (sectorHigh * 0x1_0000_0000 + sectorLow) * VIRTIO_BLK_SECTOR_BYTES
}

function isUpTo(value: number, most: number): boolean {
  return Number.isSafeInteger(value) && value >= 0 && value <= most
}
