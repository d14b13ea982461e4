// What drivers and tools say about a node or an image. Findings are data, not errors.

/** Facts of a node that its users act on. */
export interface BlockDriverInfo {
  /** Bytes; 0 where clusters mean nothing. */
  clusterSize: number
  /** Where the VM state begins, in bytes; 0 where the format holds none. */
  vmStateOffset: number
  isDirty: boolean
  needsCompressedWrites: boolean
  /** Its data is encrypted. */
  isEncrypted?: boolean
  /** What the image says of its backing file, whether that is open or not. */
  backing?: { filename: string; format: string | undefined } | undefined
}

/** How the clusters of an image are laid out. */
export interface BlockFragInfo {
  allocatedClusters: number
  totalClusters: number
  fragmentedClusters: number
  compressedClusters: number
}

export const BDRV_FIX_LEAKS = 1
export const BDRV_FIX_ERRORS = 2

/** What a check of an image found and repaired. */
export interface BdrvCheckResult {
  corruptions: number
  leaks: number
  checkErrors: number
  corruptionsFixed: number
  leaksFixed: number
  /** Bytes of the file in use. */
  imageEndOffset: number
  fragmentation: BlockFragInfo
}

/** Physical and logical block size of a host device, in bytes. */
export interface BlockSizes {
  phys: number
  log: number
}

/** A snapshot that an image holds inside itself. */
export interface SnapshotInfo {
  /** Unique in its image. */
  id: string
  name: string
  /** When it was taken: seconds since 1970 and the part of a second. */
  dateSeconds: number
  dateNanoseconds: number
  /** How long the guest had been running. */
  vmClockNanoseconds: bigint
  /** In bytes; 0 where there is no VM state. */
  vmStateSize: number
  /** Instructions the guest had run; undefined where they were not counted. */
  icount: bigint | undefined
  /** Length of the disk in bytes; undefined where the image does not say. */
  diskSize: number | undefined
}
