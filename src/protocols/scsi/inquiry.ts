// Answers to INQUIRY of a disk (SPC-4, 6.6; vital product data pages: SPC-4, 7.8 and SBC-3, 6.6).

/** Vital product data pages. */
export const VPD_SUPPORTED = 0x00
export const VPD_SERIAL = 0x80
export const VPD_IDENTIFICATION = 0x83
export const VPD_BLOCK_LIMITS = 0xb0
export const VPD_BLOCK_CHARACTERISTICS = 0xb1
export const VPD_PROVISIONING = 0xb2

/** Peripheral device type of a disk, and of a logical unit that is not there (with its qualifier). */
const TYPE_DISK = 0x00
const TYPE_WELL_KNOWN = 0x1e
const TYPE_ABSENT = 0x7f
/** Version: SPC-4. */
const VERSION = 0x06

/** What an INQUIRY tells of a disk. Strings are ASCII; they are cut or padded with blanks. */
export interface InquiryData {
  readonly vendor: string
  readonly product: string
  readonly revision: string
  /** Empty for none. */
  readonly serial: string
  /** Eight bytes that are unique in the world; empty for none. */
  readonly wwn: Uint8Array
  /** In blocks; 0 says nothing. */
  readonly optimalGranularity: number
  readonly maxTransferBlocks: number
  readonly optimalTransferBlocks: number
  /** Of one UNMAP. 0: the disk takes none. */
  readonly maxUnmapBlocks: number
  readonly maxUnmapDescriptors: number
  readonly maxWriteSameBlocks: number
}

/** Standard data of a disk. */
export function encodeInquiry(data: InquiryData): Uint8Array {
  return standard(TYPE_DISK, data.vendor, data.product, data.revision)
}

/** Standard data of the REPORT LUNS well known logical unit (SPC-4, 8.2). */
export function encodeWellKnownInquiry(): Uint8Array {
  return standard(TYPE_WELL_KNOWN, '', '', '')
}

/** Standard data of a logical unit that is not there. */
export function encodeAbsentInquiry(): Uint8Array {
  return standard(TYPE_ABSENT, '', '', '')
}

/** A vital product data page of a disk; undefined where there is none of this code. */
export function encodeVitalPage(page: number, data: InquiryData): Uint8Array | undefined {
  switch (page) {
    case VPD_SUPPORTED:
      return vital(page, supportedPages(data))
    case VPD_SERIAL:
      return data.serial === '' ? undefined : vital(page, ascii(data.serial, data.serial.length))
    case VPD_IDENTIFICATION:
      return vital(page, identification(data))
    case VPD_BLOCK_LIMITS:
      return vital(page, blockLimits(data))
    case VPD_BLOCK_CHARACTERISTICS: {
      const bytes = new Uint8Array(60)
      // SBC-3, 6.6.3: a medium that does not rotate.
      bytes[1] = 1
      return vital(page, bytes)
    }
    case VPD_PROVISIONING:
      // SBC-3, 6.6.4: UNMAP and both WRITE SAME may unmap; thin provisioning. What was unmapped need not read zero.
      return vital(page, Uint8Array.of(0, data.maxUnmapBlocks > 0 ? 0xe0 : 0, data.maxUnmapBlocks > 0 ? 2 : 0, 0))
    default:
      return undefined
  }
}

function supportedPages(data: InquiryData): Uint8Array {
  const serial = data.serial === '' ? [] : [VPD_SERIAL]
  const limits = [VPD_BLOCK_LIMITS, VPD_BLOCK_CHARACTERISTICS, VPD_PROVISIONING]
  return Uint8Array.from([VPD_SUPPORTED, ...serial, VPD_IDENTIFICATION, ...limits])
}

function standard(type: number, vendor: string, product: string, revision: string): Uint8Array {
  const bytes = new Uint8Array(36)
  bytes[0] = type
  bytes[2] = VERSION
  // Response data format; hierarchical addresses.
  bytes[3] = 0x12
  bytes[4] = bytes.length - 5
  // Command queueing.
  bytes[7] = 0x02
  bytes.set(ascii(vendor, 8), 8)
  bytes.set(ascii(product, 16), 16)
  bytes.set(ascii(revision, 4), 32)
  return bytes
}

function vital(page: number, payload: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(4 + payload.length)
  bytes[0] = TYPE_DISK
  bytes[1] = page
  new DataView(bytes.buffer).setUint16(2, payload.length)
  bytes.set(payload, 4)
  return bytes
}

/**
 * A T10 designator of vendor, product and serial, and an NAA one where there is a worldwide name (SPC-4, 7.8.6). Without either
 * there is none: initiators take disks of the same name for one.
 */
function identification(data: InquiryData): Uint8Array {
  const text = ascii(data.vendor, 8 + 16 + data.serial.length)
  text.set(ascii(data.product, 16), 8)
  text.set(ascii(data.serial, data.serial.length), 24)
  const first = data.serial === '' ? [] : [0x02, 0x01, 0, text.length, ...text]
  const second = data.wwn.length === 0 ? [] : [0x01, 0x03, 0, data.wwn.length, ...data.wwn]
  return Uint8Array.from([...first, ...second])
}

function blockLimits(data: InquiryData): Uint8Array {
  const bytes = new Uint8Array(60)
  const view = new DataView(bytes.buffer)
  // WSNZ: a WRITE SAME of no blocks does not mean all of them.
  view.setUint8(0, 1)
  view.setUint16(2, data.optimalGranularity)
  view.setUint32(4, data.maxTransferBlocks)
  view.setUint32(8, data.optimalTransferBlocks)
  view.setUint32(16, data.maxUnmapBlocks)
  view.setUint32(20, data.maxUnmapBlocks > 0 ? data.maxUnmapDescriptors : 0)
  view.setUint32(24, data.optimalGranularity)
  view.setUint32(36, data.maxWriteSameBlocks)
  return bytes
}

function ascii(text: string, length: number): Uint8Array {
  const bytes = new Uint8Array(length).fill(0x20)
  for (let i = 0; i < Math.min(text.length, length); i++) bytes[i] = text.charCodeAt(i) & 0x7f
  return bytes
}
