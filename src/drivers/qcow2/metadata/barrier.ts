// A point in time: what was written before is durable before anything that is written after.

import { flush } from '../../../io/flush.js'
import { hasDataFile, type Qcow2State } from '../state.js'

/** Makes all that was written to the files of the image durable. */
export async function barrier(state: Pick<Qcow2State, 'file' | 'dataFile'>): Promise<void> {
  if (hasDataFile(state)) await flush(state.dataFile)
  await flush(state.file)
}
