// Image locks as QEMU takes them, so that both respect each other on one host. Byte 100 + n of the file is locked, shared,
// by everyone who uses permission bit n, and byte 200 + n by everyone who does not share it. To use a permission, nobody
// else may hold its "not shared" byte; to refuse to share it, nobody else may hold its "used" byte. The locks say who is
// there and exclude nobody by themselves: that is why they are taken first and looked at afterwards.

import { BlockError, quoteOutside } from '../../common/error.js'
import { BLK_PERM_ALL, type Permissions, permissionList, permissionNames } from '../../common/permissions.js'
import { findLockHolders } from '../../platform/lock-holders.js'
import type { FileLocks } from '../../platform/native/file-locks.js'
import { fileError, type OpenFile } from './open-file.js'

const RAW_LOCK_PERM_BASE = 100
const RAW_LOCK_SHARED_BASE = 200
const BITS = [0, 1, 2, 3]

/** The locks of one open image. */
export interface ImageLocks {
  readonly calls: FileLocks
  /** In force: what the users of the node do, and what they share. */
  perm: Permissions
  shared: Permissions
  /** Bytes held, as permission bits. */
  heldUsed: Permissions
  heldUnshared: Permissions
}

/** Locks of an image that has just been opened: none. */
export function createImageLocks(calls: FileLocks): ImageLocks {
  return { calls, perm: 0, shared: BLK_PERM_ALL, heldUsed: 0, heldUnshared: 0 }
}

/**
 * Takes what `perm` and `shared` need on top of what is in force. EAGAIN where another open of the image conflicts; the
 * hint names who, as far as the host shows it, and the locks are as before.
 */
export async function checkImageLocks(
  file: OpenFile,
  locks: ImageLocks,
  perm: Permissions,
  shared: Permissions,
): Promise<void> {
  // Giving up permissions cannot conflict, and must not fail on a file system that loses its locks.
  if ((perm & ~locks.perm) === 0 && (locks.shared & ~shared) === 0) return
  const fd = file.descriptor.number
  let conflict: string | undefined
  try {
    takeBytes(locks, fd, locks.perm | perm, unsharedOf(locks.shared & shared))
    conflict = findConflict(locks, fd, perm, shared)
  } catch (thrown) {
    restoreImageLocks(file, locks)
    throw await lockError(file, fileError(file, 'permissions', thrown).message)
  }
  if (conflict === undefined) return
  restoreImageLocks(file, locks)
  throw await lockError(file, conflict)
}

/** Puts `perm` and `shared` in force and lets go of what they do not need. Follows a check of the same. */
export function setImageLocks(file: OpenFile, locks: ImageLocks, perm: Permissions, shared: Permissions): void {
  locks.perm = perm
  locks.shared = shared
  restoreImageLocks(file, locks)
}

/** Lets go of what a check took and nobody confirmed. */
export function restoreImageLocks(file: OpenFile, locks: ImageLocks): void {
  const fd = file.descriptor.number
  const unshared = unsharedOf(locks.shared)
  for (const bit of BITS) {
    const mask = 1 << bit
    if ((locks.heldUsed & ~locks.perm & mask) !== 0) release(locks, fd, RAW_LOCK_PERM_BASE + bit)
    if ((locks.heldUnshared & ~unshared & mask) !== 0) release(locks, fd, RAW_LOCK_SHARED_BASE + bit)
  }
  locks.heldUsed &= locks.perm
  locks.heldUnshared &= unshared
}

/** Takes on another descriptor of the same file what this one holds. Throws where that fails. */
export function mirrorImageLocks(locks: ImageLocks, fd: number): void {
  for (const bit of BITS) {
    if ((locks.heldUsed & (1 << bit)) !== 0) locks.calls.lockShared(fd, RAW_LOCK_PERM_BASE + bit)
    if ((locks.heldUnshared & (1 << bit)) !== 0) locks.calls.lockShared(fd, RAW_LOCK_SHARED_BASE + bit)
  }
}

/**
 * Makes another descriptor of the same file, on which they were mirrored, the holder of the locks: it has afterwards what
 * this one has by now. Never throws: a byte it cannot have counts as not held, and the next check asks for it again.
 */
export function handOverImageLocks(locks: ImageLocks, fd: number): void {
  for (const bit of BITS) {
    const mask = 1 << bit
    if (!handOverByte(locks, fd, RAW_LOCK_PERM_BASE + bit, (locks.heldUsed & mask) !== 0)) locks.heldUsed &= ~mask
    if (!handOverByte(locks, fd, RAW_LOCK_SHARED_BASE + bit, (locks.heldUnshared & mask) !== 0))
      locks.heldUnshared &= ~mask
  }
}

/**
 * Lets go of everything a descriptor holds that is about to be closed. Closing takes its time, and until then its locks
 * would stand in the way of the one that took over.
 */
export function dropImageLocks(locks: ImageLocks, fd: number): void {
  for (const bit of BITS) {
    release(locks, fd, RAW_LOCK_PERM_BASE + bit)
    release(locks, fd, RAW_LOCK_SHARED_BASE + bit)
  }
}

function handOverByte(locks: ImageLocks, fd: number, byte: number, held: boolean): boolean {
  if (!held) {
    release(locks, fd, byte)
    return false
  }
  try {
    locks.calls.lockShared(fd, byte)
    return true
  } catch {
    return false
  }
}

function unsharedOf(shared: Permissions): Permissions {
  return BLK_PERM_ALL & ~shared
}

function takeBytes(locks: ImageLocks, fd: number, used: Permissions, unshared: Permissions): void {
  for (const bit of BITS) {
    const mask = 1 << bit
    if ((used & ~locks.heldUsed & mask) !== 0) {
      locks.calls.lockShared(fd, RAW_LOCK_PERM_BASE + bit)
      locks.heldUsed |= mask
    }
    if ((unshared & ~locks.heldUnshared & mask) !== 0) {
      locks.calls.lockShared(fd, RAW_LOCK_SHARED_BASE + bit)
      locks.heldUnshared |= mask
    }
  }
}

function release(locks: ImageLocks, fd: number, byte: number): void {
  try {
    locks.calls.unlock(fd, byte)
  } catch {
    // Some network file systems fail here; the lock goes with the descriptor at the latest.
  }
}

/** What is in the way, in QEMU's words. */
function findConflict(locks: ImageLocks, fd: number, perm: Permissions, shared: Permissions): string | undefined {
  for (const bit of BITS) {
    const mask = 1 << bit
    if ((perm & mask) !== 0 && locks.calls.isLockedElsewhere(fd, RAW_LOCK_SHARED_BASE + bit)) {
      return `Failed to get "${permissionNames(mask)}" lock`
    }
    if ((shared & mask) === 0 && locks.calls.isLockedElsewhere(fd, RAW_LOCK_PERM_BASE + bit)) {
      return `Failed to get shared "${permissionNames(mask)}" lock`
    }
  }
  return undefined
}

async function lockError(file: OpenFile, message: string): Promise<BlockError> {
  const bytes = BITS.flatMap((bit) => [RAW_LOCK_PERM_BASE + bit, RAW_LOCK_SHARED_BASE + bit])
  const holders = await findLockHolders(file.identity, bytes, file.descriptor.number)
  const said = holders.map((holder) => {
    const who = holder.pid === process.pid ? 'this process' : `${quoteOutside(holder.command)} (process ${holder.pid})`
    return `${who} ${describeHeld(holder.bytes)}.`
  })
  return new BlockError('EAGAIN', message, {
    node: file.nodeName,
    op: 'permissions',
    hint: [`Is another process using the image [${file.path}]?`, ...said].join(' '),
  })
}

function describeHeld(bytes: readonly number[]): string {
  const used = namesOf(bytes, RAW_LOCK_PERM_BASE)
  const unshared = namesOf(bytes, RAW_LOCK_SHARED_BASE)
  const parts = [used === '' ? '' : `uses ${used}`, unshared === '' ? '' : `does not share ${unshared}`]
  return parts.filter((part) => part !== '').join(' and ')
}

function namesOf(bytes: readonly number[], base: number): string {
  let bits = 0
  for (const bit of BITS) if (bytes.includes(base + bit)) bits |= 1 << bit
  return permissionList(bits).join(', ')
}
