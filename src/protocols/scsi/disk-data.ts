// What a disk answers with and is told in lists: capacities, mode pages, logical units, ranges to unmap (SBC-3, SPC-4).

import { highHalf, lowHalf } from '../../common/units.js'
import type { BlockRange, ModeSense } from './command.js'

/** Size and provisioning of a disk. */
export interface DiskCapacity {
  /** At least one. */
  readonly blocks: number
  readonly blockSize: number
  /** Logical blocks in a physical one, as a power of two. */
  readonly physicalBlockExp: number
  /** Blocks may be unmapped. */
  readonly thin: boolean
}

/** The answer to READ CAPACITY(10): the last block, or 2^32-1 where the longer command has to be used. */
export function encodeCapacity10(capacity: DiskCapacity): Uint8Array {
  const bytes = new Uint8Array(8)
  const view = new DataView(bytes.buffer)
  view.setUint32(0, Math.min(capacity.blocks - 1, 0xffff_ffff))
  view.setUint32(4, capacity.blockSize)
  return bytes
}

/** The answer to READ CAPACITY(16). */
export function encodeCapacity16(capacity: DiskCapacity): Uint8Array {
  const bytes = new Uint8Array(32)
  const view = new DataView(bytes.buffer)
  const last = capacity.blocks - 1
  view.setUint32(0, highHalf(last))
  view.setUint32(4, lowHalf(last))
  view.setUint32(8, capacity.blockSize)
  view.setUint8(13, capacity.physicalBlockExp)
  view.setUint8(14, capacity.thin ? 0x80 : 0)
  return bytes
}

/** The answer to REPORT LUNS: single level addresses, the flat form from 256 on (SAM-5, 4.7). */
export function encodeLuns(luns: readonly number[]): Uint8Array {
  const bytes = new Uint8Array(8 + 8 * luns.length)
  const view = new DataView(bytes.buffer)
  view.setUint32(0, 8 * luns.length)
  for (const [i, lun] of luns.entries()) view.setUint16(8 + 8 * i, lun < 256 ? lun : 0x4000 | lun)
  return bytes
}

/** How a disk presents itself in mode pages. */
export interface DiskMode {
  readonly writable: boolean
  /** The cache is volatile. */
  readonly writeback: boolean
  readonly capacity: DiskCapacity
}

const CACHING_PAGE = 0x08
const CONTROL_PAGE = 0x0a
const ALL_PAGES = 0x3f

/** The answer to MODE SENSE; undefined where there is no such page. Nothing can be changed, and defaults are what is. */
export function encodeModeSense(command: ModeSense, mode: DiskMode): Uint8Array | undefined {
  const changeable = command.control === 1
  const pages: Uint8Array[] = []
  if (command.subpage !== 0 && command.subpage !== 0xff) return undefined
  if (command.page === CACHING_PAGE || command.page === ALL_PAGES) pages.push(cachingPage(mode, changeable))
  if (command.page === CONTROL_PAGE || command.page === ALL_PAGES) pages.push(page(CONTROL_PAGE, 12))
  if (pages.length === 0) return undefined
  const descriptor = command.blockDescriptor ? blockDescriptor(mode.capacity) : new Uint8Array(0)
  const header = command.long ? 8 : 4
  const length = header + descriptor.length + pages.reduce((sum, each) => sum + each.length, 0)
  const bytes = new Uint8Array(length)
  const view = new DataView(bytes.buffer)
  // Write protection; FUA and DPO are known.
  const parameter = (mode.writable ? 0 : 0x80) | 0x10
  if (command.long) {
    view.setUint16(0, length - 2)
    view.setUint8(3, parameter)
    view.setUint16(6, descriptor.length)
  } else {
    view.setUint8(0, length - 1)
    view.setUint8(2, parameter)
    view.setUint8(3, descriptor.length)
  }
  bytes.set(descriptor, header)
  let at = header + descriptor.length
  for (const each of pages) {
    bytes.set(each, at)
    at += each.length
  }
  return bytes
}

function cachingPage(mode: DiskMode, changeable: boolean): Uint8Array {
  const bytes = page(CACHING_PAGE, 20)
  // WCE.
  bytes[2] = mode.writeback && !changeable ? 0x04 : 0
  return bytes
}

function page(code: number, length: number): Uint8Array {
  const bytes = new Uint8Array(length)
  bytes[0] = code
  bytes[1] = length - 2
  return bytes
}

/** The short descriptor: 0 blocks stands for more than it can say. */
function blockDescriptor(capacity: DiskCapacity): Uint8Array {
  const bytes = new Uint8Array(8)
  const view = new DataView(bytes.buffer)
  view.setUint32(0, capacity.blocks > 0xff_ffff ? 0 : capacity.blocks)
  view.setUint32(4, capacity.blockSize)
  return bytes
}

const UNMAP_HEADER_BYTES = 8
const UNMAP_DESCRIPTOR_BYTES = 16

/** The ranges of an UNMAP parameter list (SBC-3, 5.28); undefined where the list is too short for what it says. */
export function decodeUnmapList(list: Uint8Array): BlockRange[] | undefined {
  if (list.length < UNMAP_HEADER_BYTES) return undefined
  const view = new DataView(list.buffer, list.byteOffset, list.byteLength)
  const bytes = view.getUint16(2)
  if (UNMAP_HEADER_BYTES + bytes > list.length || view.getUint16(0) < bytes + 6) return undefined
  const ranges: BlockRange[] = []
  // SBC-3, 5.28.2: what is no whole descriptor is ignored.
  for (let i = 0; i + UNMAP_DESCRIPTOR_BYTES <= bytes; i += UNMAP_DESCRIPTOR_BYTES) {
    const at = UNMAP_HEADER_BYTES + i
    const high = view.getUint32(at)
    const lba = high > 0x1f_ffff ? Number.POSITIVE_INFINITY : high * 0x1_0000_0000 + view.getUint32(at + 4)
    ranges.push({ lba, blocks: view.getUint32(at + 8) })
  }
  return ranges
}
