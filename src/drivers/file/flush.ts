// Making written data durable. After a flush that failed the host may have dropped the data and forgotten the failure, so
// the next flush would succeed over a hole; from then on every flush of this open file fails (fsync(2), NOTES).

import { toBlockError } from '../../common/error.js'
import { hostCall, type OpenFile } from './open-file.js'

/** Makes what was written so far durable. */
export async function flushFile(file: OpenFile): Promise<void> {
  if (file.flushFailure !== undefined) throw file.flushFailure
  try {
    await hostCall(file, 'flush', (fd) => file.host.sync(fd))
  } catch (thrown) {
    const error = toBlockError(thrown)
    // Without the host's cache there is nothing it could have dropped.
    if (!file.direct) file.flushFailure ??= error
    throw error
  }
}
