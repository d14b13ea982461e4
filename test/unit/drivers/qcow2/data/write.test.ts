// Allocating writes: what they leave of each other.

import { describe, expect, it } from 'vitest'
import { BlockError } from '../../../../../src/common/error.js'
import { sliceBytes } from '../../../../../src/common/io-vector.js'
import { openStore } from '../../../../../src/drivers/memory.js'
import { type BlockDriver, defineDriver } from '../../../../../src/global-state/driver.js'
import { type ChunkStore, storageOf } from '../../../../../src/testing/storage/memory-storage.js'
import { openRig } from '../../../../support/driver-rig.js'
import { emptyImage } from '../../../../support/qcow2-image.js'

/** A file on a disk that runs full: once, a write behind its end gets halfway. */
function fullDisk(store: ChunkStore, full: { once: boolean }): BlockDriver {
  return defineDriver({
    name: 'full-disk',
    kind: 'protocol',
    options: {},
    open(context) {
      const opened = openStore(store, context.node)
      const { io } = opened
      const write: typeof io.write = (offset, data, flags) => {
        if (!full.once || offset + data.length <= store.length) return io.write?.(offset, data, flags)
        full.once = false
        io.write?.(offset, sliceBytes(data, 0, data.length / 2), flags)
        throw new BlockError('ENOSPC', 'the disk is full')
      }
      return { ...opened, io: { ...io, write } }
    },
  }) as unknown as BlockDriver
}

describe('a cluster that was never written', () => {
  it('reads as zeroes beside the data of a later write, also where an earlier one got halfway', async () => {
    const full = { once: false }
    const store = storageOf(emptyImage(64 * 4096, { clusterBits: 12 }))
    const rig = await openRig({ driver: 'qcow2', file: { driver: 'full-disk' } }, { drivers: [fullDisk(store, full)] })
    await rig.backend.write(40 * 4096, new Uint8Array(4096).fill(1))
    full.once = true
    await expect(rig.backend.write(0, new Uint8Array(4096).fill(2))).rejects.toThrow('the disk is full')
    await rig.backend.write(5 * 4096 + 3000, new Uint8Array(100).fill(3))
    const shown = new Uint8Array(4096)
    await rig.backend.read(5 * 4096, shown)
    expect(shown.subarray(0, 3000).every((byte) => byte === 0)).toBe(true)
    await rig.close()
  })
})
