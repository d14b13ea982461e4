// Files in memory under the protocol `file`, for images in the making: what is written to them is recorded, and may meet faults.

import { BDRV_CHILD_DATA } from '../../src/common/child-role.js'
import { childLength, forward, forwardedFlags } from '../../src/drivers/filters/forward.js'
import { type BlockDriver, defineDriver } from '../../src/global-state/driver.js'
import { sizeOption, stringOption } from '../../src/global-state/options/option-schema.js'
import { read } from '../../src/io/read.js'
import { truncate } from '../../src/io/truncate.js'
import { type FaultPlan, faultDriver } from '../../src/testing/storage/faults.js'
import { type ChunkStore, storageDriver } from '../../src/testing/storage/memory-storage.js'
import { type Recording, recordingDriver } from '../../src/testing/storage/recording.js'

/** The drivers of such files. A file that is made is emptied; storage is never preallocated. */
export function recordedFiles(
  stores: ReadonlyMap<string, ChunkStore>,
  recording: Recording,
  plan: FaultPlan,
): BlockDriver[] {
  const file = defineDriver({
    name: 'file',
    kind: 'protocol',
    options: { filename: stringOption({ required: true }) },
    childNames: ['file'],
    createOptions: { size: sizeOption({ default: 0 }) },
    async create({ filename }) {
      stores.get(filename)?.resize(0)
    },
    async open(context, { filename }) {
      const below = { driver: 'recording', 'node-name': filename, file: { driver: `storage-${filename}` } }
      const edge = await context.child('file', BDRV_CHILD_DATA, { driver: 'fault', file: below })
      return {
        io: {
          length: () => childLength(edge),
          read: (offset, into, flags) => read(edge, offset, into, flags),
          ...forward(edge, 'write', 'writeZeroes', 'discard'),
          truncate: (length, options) => truncate(edge, length, { ...options, preallocation: 'off' }),
        },
        state: undefined,
        ...forwardedFlags(edge),
      }
    },
  })
  const storages = [...stores].map(([name, store]) => storageDriver(store, `storage-${name}`))
  return [file, recordingDriver(recording), faultDriver(plan), ...storages]
}
