// Disks for tests of the short way: in memory, or over a disk whose requests wait for the test.

import type { BlockError } from '../../src/common/error.js'
import type { Disk } from '../../src/disk/disk.js'
import { openDiskWith } from '../../src/disk/open-disk.js'
import { builtinDrivers } from '../../src/drivers/index.js'
import { Controller, controlledDriver } from '../../src/testing/storage/controlled.js'

/** A disk of its own graph, in memory. */
export function memoryDisk(size: number): Promise<Disk> {
  return openDiskWith(builtinDrivers, { driver: 'memory', size })
}

/** A disk whose requests wait until the test releases them. */
export async function controlledDisk(size: number): Promise<{ disk: Disk; controller: Controller }> {
  const controller = new Controller()
  const disk = await openDiskWith([controlledDriver(controller)], { driver: 'controlled', size })
  return { disk, controller }
}

/** `bytes` bytes, no two neighbours alike, none of them 0. */
export function counting(bytes: number, first = 0): Uint8Array<ArrayBuffer> {
  return Uint8Array.from({ length: bytes }, (_, i) => ((first + i) % 255) + 1)
}

/** What a promise rejects with; fails where it does not. */
export async function refusal(promise: Promise<unknown>): Promise<BlockError> {
  return promise.then(
    () => {
      throw new Error('nothing was refused')
    },
    (error: BlockError) => error,
  )
}
