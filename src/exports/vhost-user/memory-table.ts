// The memory a front-end has shared: regions mapped from its descriptors, seen as guest memory, and the translation of the
// front-end's own addresses. A table that is refused leaves the old one as it was (threats.md U02).
//
// A front-end could make its file shorter later, and touching what is gone kills a process. Sealed memory cannot shrink; of
// the rest the length is looked at again while rings run (`stillWhole`), which narrows the gap and does not close it.

import { BlockError } from '../../common/error.js'
import type { HostIpc, SharedMapping } from '../../common/host-ipc.js'
import { MAX_LENGTH } from '../../common/limits.js'
import { alignDown, GiB, highHalf, lowHalf } from '../../common/units.js'
import { GuestMemory, type GuestRegionOptions } from '../../devices/virtio/memory/guest-memory.js'
import type { GuestAddress } from '../../devices/virtio/queue/queue-layout.js'
import type { MemoryRegionDescription } from '../../protocols/vhost-user/memory-regions.js'
import type { Descriptors } from './descriptors.js'

/** Guest memory is cut where the guest's address is a multiple of this: no buffer can be longer than 4 GiB. */
const PIECE_BYTES = 2 * GiB
const PAGE = 4096
const TWO_64 = 1n << 64n

/** A region that is mapped. */
interface MappedRegion {
  readonly guestAddress: number
  readonly size: number
  readonly userAddress: bigint
  readonly end: number
  readonly mapping: SharedMapping
  readonly views: readonly GuestRegionOptions[]
  /** Kept to look at the length again; undefined where nobody can change it. */
  readonly fd: number | undefined
}

/** How regions are taken. */
export interface MemoryPolicy {
  /** Refuse memory that could be made shorter. */
  requireSealed: boolean
}

/** The regions of one connection. Immutable but for its end: a change makes a new table that shares what stays. */
export class MemoryTable {
  readonly regions: readonly MappedRegion[]
  /** Undefined without a region. */
  readonly memory: GuestMemory | undefined

  private readonly ipc: HostIpc

  /** Throws EINVAL where regions overlap. */
  constructor(ipc: HostIpc, regions: readonly MappedRegion[] = []) {
    this.ipc = ipc
    this.regions = regions
    checkUserOverlap(regions)
    this.memory = regions.length === 0 ? undefined : new GuestMemory(regions.flatMap(({ views }) => views))
  }

  /** A table of these regions alone. Takes one descriptor for each. */
  replaced(described: readonly MemoryRegionDescription[], fds: Descriptors, policy: MemoryPolicy): MemoryTable {
    if (fds.count !== described.length) {
      throw new BlockError('EPROTO', `${fds.count} descriptors for ${described.length} memory regions`)
    }
    const regions: MappedRegion[] = []
    try {
      for (const one of described) regions.push(mapRegion(this.ipc, one, fds, policy))
      return new MemoryTable(this.ipc, regions)
    } catch (error) {
      for (const region of regions) endRegion(this.ipc, region)
      throw error
    }
  }

  /** A table with one region more. */
  with(described: MemoryRegionDescription, fds: Descriptors, policy: MemoryPolicy): MemoryTable {
    const region = mapRegion(this.ipc, described, fds, policy)
    try {
      return new MemoryTable(this.ipc, [...this.regions, region])
    } catch (error) {
      endRegion(this.ipc, region)
      throw error
    }
  }

  /** A table without one region, which is named by its addresses and size. Throws EINVAL where there is none like it. */
  without({ guestAddress, userAddress, size }: MemoryRegionDescription): MemoryTable {
    const kept = this.regions.filter(
      (region) =>
        BigInt(region.guestAddress) !== guestAddress ||
        region.userAddress !== userAddress ||
        BigInt(region.size) !== size,
    )
    if (kept.length === this.regions.length) throw new BlockError('EINVAL', 'no such memory region')
    return new MemoryTable(this.ipc, kept)
  }

  /** Unmaps every region that `successor` does not share. Nothing may use them any more. */
  end(successor?: MemoryTable): void {
    for (const region of this.regions) {
      if (successor?.regions.includes(region) !== true) endRegion(this.ipc, region)
    }
  }

  /**
   * The guest's address of `bytes` bytes at an address of the front-end; undefined where some of them are in no region, or
   * cross into one that is their neighbour in the addresses of the front-end and not in those of the guest.
   */
  translate(userAddress: bigint, bytes: number): GuestAddress | undefined {
    const region = this.regionAt(userAddress)
    if (region === undefined) return undefined
    const end = userAddress + BigInt(bytes)
    let last = region
    while (end > last.userAddress + BigInt(last.size)) {
      const next = this.regionAt(last.userAddress + BigInt(last.size))
      if (next === undefined || next.guestAddress !== last.guestAddress + last.size) return undefined
      last = next
    }
    const address = region.guestAddress + Number(userAddress - region.userAddress)
    return { high: highHalf(address), low: lowHalf(address) }
  }

  private regionAt(userAddress: bigint): MappedRegion | undefined {
    return this.regions.find((region) => {
      const start = userAddress - region.userAddress
      return start >= 0n && start < BigInt(region.size)
    })
  }

  /** The first address of the guest behind all regions. */
  get memoryEnd(): number {
    return this.regions.reduce((end, { guestAddress, size }) => Math.max(end, guestAddress + size), 0)
  }

  /** Whether no file has become shorter than what is mapped of it. */
  stillWhole(): boolean {
    return this.regions.every(({ fd, end }) => fd === undefined || this.ipc.describe(fd).size >= end)
  }
}

function mapRegion(
  ipc: HostIpc,
  described: MemoryRegionDescription,
  fds: Descriptors,
  policy: MemoryPolicy,
): MappedRegion {
  const { guestAddress, size, offset } = checkRegion(described)
  const fd = fds.take()
  if (fd === undefined) throw new BlockError('EPROTO', 'a memory region without a descriptor')
  let kept = false
  try {
    const info = ipc.describe(fd)
    if (!info.isFile) throw new BlockError('EINVAL', 'the descriptor of a memory region is no memory')
    if (offset + size > info.size) {
      throw new BlockError('EINVAL', `memory region of ${size} bytes at ${offset} of a file of ${info.size} bytes`)
    }
    if (policy.requireSealed && !info.cannotShrink) {
      throw new BlockError('EPERM', 'memory that could be made shorter, and only sealed memory is accepted')
    }
    const mapping = ipc.map(fd, offset, size)
    kept = !info.cannotShrink
    return {
      guestAddress,
      size,
      userAddress: described.userAddress,
      end: offset + size,
      mapping,
      views: cut(mapping, guestAddress),
      fd: kept ? fd : undefined,
    }
  } finally {
    if (!kept) ipc.close(fd)
  }
}

/** What of a description does not depend on the descriptor. */
function checkRegion(described: MemoryRegionDescription): { guestAddress: number; size: number; offset: number } {
  const { guestAddress, size, userAddress, mmapOffset, xen } = described
  if (xen !== undefined && xen.flags !== 0) {
    throw new BlockError(
      'ENOTSUP',
      `a Xen mapping (flags 0x${xen.flags.toString(16)}, domain ${xen.domain}), which this host cannot make`,
    )
  }
  const limit = BigInt(MAX_LENGTH)
  if (size === 0n) throw new BlockError('EINVAL', 'an empty memory region')
  if (guestAddress + size > limit || mmapOffset + size > limit || userAddress + size > TWO_64) {
    throw new BlockError('EFBIG', `a memory region of 0x${size.toString(16)} bytes that goes beyond its address space`)
  }
  if (guestAddress % BigInt(PAGE) !== 0n || mmapOffset % BigInt(PAGE) !== 0n) {
    throw new BlockError('EINVAL', 'a memory region that does not begin at a page')
  }
  return { guestAddress: Number(guestAddress), size: Number(size), offset: Number(mmapOffset) }
}

function cut(mapping: SharedMapping, guestAddress: number): GuestRegionOptions[] {
  const pieces: GuestRegionOptions[] = []
  let at = guestAddress
  const end = guestAddress + mapping.bytes
  while (at < end) {
    const next = Math.min(end, alignDown(at, PIECE_BYTES) + PIECE_BYTES)
    pieces.push({ address: at, memory: mapping.view(at - guestAddress, next - at) })
    at = next
  }
  return pieces
}

function checkUserOverlap(regions: readonly MappedRegion[]): void {
  const sorted = [...regions].sort((a, b) => (a.userAddress < b.userAddress ? -1 : 1))
  sorted.forEach((region, index) => {
    const previous = sorted[index - 1]
    if (previous !== undefined && previous.userAddress + BigInt(previous.size) > region.userAddress) {
      throw new BlockError('EINVAL', 'memory regions overlap in the addresses of the front-end')
    }
  })
}

function endRegion(ipc: HostIpc, region: MappedRegion): void {
  region.mapping.unmap()
  if (region.fd !== undefined) ipc.close(region.fd)
}
