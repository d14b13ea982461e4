// The memory a front-end shares (vhost-user.rst, Memory region description): a table of regions, or one region by itself.
// Where XEN_MMAP was agreed each region also says how a Xen host would map it.

import { BlockError } from '../../common/error.js'
import { VHOST_MEMORY_BASELINE_NREGIONS } from './messages.js'
import { payloadView } from './payloads.js'

/** Bytes of a region, without and with the fields of Xen. */
export const MEMORY_REGION_BYTES = 32
export const XEN_MEMORY_REGION_BYTES = 40
/** Bytes before the regions of a table, and before a single one. */
export const MEMORY_TABLE_HEAD_BYTES = 8

/** Flags of a Xen mapping. */
export const VHOST_USER_XEN_MMAP_FOREIGN = 1
export const VHOST_USER_XEN_MMAP_GRANT = 2
export const VHOST_USER_XEN_MMAP_NO_ADVANCE = 0x100

/** How a Xen host maps a region. */
export interface XenMapping {
  flags: number
  domain: number
}

/** A region as the front-end describes it. All of it is 64 bits wide and comes unchecked. */
export interface MemoryRegionDescription {
  guestAddress: bigint
  size: bigint
  userAddress: bigint
  mmapOffset: bigint
  xen: XenMapping | undefined
}

/** The payload of SET_MEM_TABLE. Throws EPROTO for more regions than the protocol allows or the payload holds. */
export function decodeMemoryTable(payload: Uint8Array, xen: boolean): MemoryRegionDescription[] {
  const view = payloadView(payload, MEMORY_TABLE_HEAD_BYTES)
  const count = view.getUint32(0, true)
  if (count > VHOST_MEMORY_BASELINE_NREGIONS) throw new BlockError('EPROTO', `a table of ${count} memory regions`)
  const bytes = regionBytes(xen)
  payloadView(payload, MEMORY_TABLE_HEAD_BYTES + count * bytes)
  return Array.from({ length: count }, (_, index) => decodeRegion(view, MEMORY_TABLE_HEAD_BYTES + index * bytes, xen))
}

/** The payload of ADD_MEM_REG and REM_MEM_REG. */
export function decodeMemoryRegion(payload: Uint8Array, xen: boolean): MemoryRegionDescription {
  const view = payloadView(payload, MEMORY_TABLE_HEAD_BYTES + regionBytes(xen))
  return decodeRegion(view, MEMORY_TABLE_HEAD_BYTES, xen)
}

/** A table as a payload. */
export function encodeMemoryTable(regions: readonly MemoryRegionDescription[]): Uint8Array {
  const xen = regions.some((region) => region.xen !== undefined)
  const bytes = new Uint8Array(MEMORY_TABLE_HEAD_BYTES + regions.length * regionBytes(xen))
  const view = new DataView(bytes.buffer)
  view.setUint32(0, regions.length, true)
  regions.forEach((region, index) => {
    encodeRegion(view, MEMORY_TABLE_HEAD_BYTES + index * regionBytes(xen), region)
  })
  return bytes
}

/** One region as a payload. */
export function encodeMemoryRegion(region: MemoryRegionDescription): Uint8Array {
  const bytes = new Uint8Array(MEMORY_TABLE_HEAD_BYTES + regionBytes(region.xen !== undefined))
  encodeRegion(new DataView(bytes.buffer), MEMORY_TABLE_HEAD_BYTES, region)
  return bytes
}

function regionBytes(xen: boolean): number {
  return xen ? XEN_MEMORY_REGION_BYTES : MEMORY_REGION_BYTES
}

function decodeRegion(view: DataView, at: number, xen: boolean): MemoryRegionDescription {
  return {
    guestAddress: view.getBigUint64(at, true),
    size: view.getBigUint64(at + 8, true),
    userAddress: view.getBigUint64(at + 16, true),
    mmapOffset: view.getBigUint64(at + 24, true),
    xen: xen ? { flags: view.getUint32(at + 32, true), domain: view.getUint32(at + 36, true) } : undefined,
  }
}

function encodeRegion(view: DataView, at: number, region: MemoryRegionDescription): void {
  view.setBigUint64(at, region.guestAddress, true)
  view.setBigUint64(at + 8, region.size, true)
  view.setBigUint64(at + 16, region.userAddress, true)
  view.setBigUint64(at + 24, region.mmapOffset, true)
  if (region.xen === undefined) return
  view.setUint32(at + 32, region.xen.flags, true)
  view.setUint32(at + 36, region.xen.domain, true)
}
