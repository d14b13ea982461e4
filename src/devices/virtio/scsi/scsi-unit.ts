// A logical unit: a disk at its place behind the controller, what it says of itself, and what it has yet to tell its driver.

import { BlockError } from '../../../common/error.js'
import { alignDown } from '../../../common/units.js'
import type { BackendRoot } from '../../../io/backend/root.js'
import type { DiskMode } from '../../../protocols/scsi/disk-data.js'
import type { InquiryData } from '../../../protocols/scsi/inquiry.js'
import { SENSE_RESET, type Sense } from '../../../protocols/scsi/sense.js'
import { isRootWritable, lengthOfRoot } from '../core/disk-root.js'
import type { ScsiRequest } from './scsi-request.js'

/** A disk and its place. */
export interface ScsiDiskOptions {
  /** Of the backend. The controller is its client until the disk is detached. */
  root: BackendRoot
  /** 0..255. Default 0. */
  target?: number
  /** 0..16383. Default 0. */
  lun?: number
  /** ASCII: up to 8, 16, 4 and 36 characters. */
  vendor?: string
  product?: string
  revision?: string
  serial?: string
  /** Worldwide name, 16 hexadecimal digits. */
  wwn?: string
  /** In bytes: powers of two, 512..32768, and from that on. */
  logicalBlockSize?: number
  physicalBlockSize?: number
  /** Take UNMAP. Default true; a read-only disk does not. */
  unmap?: boolean
}

/** Most blocks of one WRITE SAME and one UNMAP, in bytes, and descriptors of one UNMAP. */
const MAX_WRITE_SAME_BYTES = 64 << 20
const MAX_UNMAP_BYTES = 1 << 30
const MAX_UNMAP_DESCRIPTORS = 256

/** A logical unit. */
export class ScsiUnit {
  readonly root: BackendRoot
  readonly target: number
  readonly lun: number
  readonly blockSize: number
  readonly physicalBlockExp: number
  readonly writable: boolean
  /** Takes UNMAP, and WRITE SAME that unmaps. */
  readonly thin: boolean
  readonly inquiry: InquiryData
  /** Length in logical blocks; 0 without a medium. */
  blocks: number
  /** Commands under way. */
  readonly active = new Set<ScsiRequest>()
  /** Unit attention conditions, the oldest first (SAM-5, 5.14). */
  attentions: Sense[] = [SENSE_RESET]

  /** Throws EINVAL for what no unit can be. */
  constructor(options: ScsiDiskOptions) {
    const { root, target = 0, lun = 0, logicalBlockSize = 512 } = options
    const physicalBlockSize = options.physicalBlockSize ?? logicalBlockSize
    require(within(target, 0, 255) && within(lun, 0, 16383), 'target must be 0..255 and lun 0..16383')
    require(isPower(logicalBlockSize, 512, 32768), 'logical block size must be a power of two of 512..32768')
    require(isPower(
      physicalBlockSize,
      logicalBlockSize,
      1 << 30,
    ), 'physical block size must be a power of two of blocks')
    this.root = root
    this.target = target
    this.lun = lun
    this.blockSize = logicalBlockSize
    this.physicalBlockExp = Math.log2(physicalBlockSize / logicalBlockSize)
    this.writable = isRootWritable(root)
    this.thin = this.writable && (options.unmap ?? true)
    this.inquiry = this.describe(options)
    this.blocks = this.blocksOf(lengthOfRoot(root))
  }

  /** Whole logical blocks in `length` bytes. */
  blocksOf(length: number): number {
    return alignDown(length, this.blockSize) / this.blockSize
  }

  /** What mode pages and capacities say now. */
  get mode(): DiskMode {
    const { blocks, blockSize, physicalBlockExp, thin, writable } = this
    return { writable, writeback: this.root.writeCache, capacity: { blocks, blockSize, physicalBlockExp, thin } }
  }

  /** Raises a unit attention condition, unless it is waiting to be told already. */
  attend(condition: Sense): void {
    if (!this.attentions.includes(condition)) this.attentions.push(condition)
  }

  private describe(options: ScsiDiskOptions): InquiryData {
    const { blockSize, thin } = this
    const { vendor = 'BLKGRAPH', product = 'DISK', revision = '1', serial = '', wwn = '' } = options
    for (const [text, most] of [
      [vendor, 8],
      [product, 16],
      [revision, 4],
      [serial, 36],
    ] as const) {
      const code = [...text].every((letter) => letter >= ' ' && letter <= '~')
      require(code && text.length <= most, `'${text.slice(0, 40)}' is no ASCII of up to ${most} characters`)
    }
    require(/^([0-9a-fA-F]{16})?$/.test(wwn), 'wwn must be 16 hexadecimal digits')
    return {
      vendor,
      product,
      revision,
      serial,
      wwn: Uint8Array.from(wwn.match(/../g) ?? [], (byte) => Number.parseInt(byte, 16)),
      optimalGranularity: 2 ** this.physicalBlockExp > 0xffff ? 0 : 2 ** this.physicalBlockExp,
      maxTransferBlocks: Math.floor(0x7fff_ffff / blockSize),
      optimalTransferBlocks: 0,
      maxUnmapBlocks: thin ? MAX_UNMAP_BYTES / blockSize : 0,
      maxUnmapDescriptors: MAX_UNMAP_DESCRIPTORS,
      maxWriteSameBlocks: MAX_WRITE_SAME_BYTES / blockSize,
    }
  }
}

function within(value: number, low: number, high: number): boolean {
  return Number.isSafeInteger(value) && value >= low && value <= high
}

function isPower(value: number, low: number, high: number): boolean {
  return within(value, low, high) && (value & (value - 1)) === 0
}

function require(condition: boolean, message: string): asserts condition {
  if (!condition) throw new BlockError('EINVAL', `virtio-scsi: ${message}`)
}
