// The drivers every graph can have. A new driver is added here, and nowhere else in this folder.

import type { BlockDriver } from '../global-state/driver.js'
import { blkdebugDriver } from './filters/blkdebug.js'
import { blklogwritesDriver } from './filters/blklogwrites.js'
import { copyOnReadDriver } from './filters/copy-on-read.js'
import { throttleDriver } from './filters/throttle.js'
import { luksDriver } from './luks/index.js'
import { memoryDriver } from './memory.js'
import { nullAioDriver, nullCoDriver } from './null.js'
import { qcow2Driver } from './qcow2/index.js'
import { rawDriver } from './raw.js'

export { blkdebugDriver } from './filters/blkdebug.js'
export { blklogwritesDriver } from './filters/blklogwrites.js'
export { copyOnReadDriver } from './filters/copy-on-read.js'
export { setThrottleLimits, throttleDriver, throttleLimits } from './filters/throttle.js'
export { luksDriver } from './luks/index.js'
export { memoryDriver } from './memory.js'
export { nullAioDriver, nullCoDriver } from './null.js'
export { qcow2Driver } from './qcow2/index.js'
export { rawDriver } from './raw.js'

/** Every driver that needs nothing of the host. */
export const builtinDrivers: readonly BlockDriver[] = [
  blkdebugDriver,
  blklogwritesDriver,
  copyOnReadDriver,
  luksDriver,
  memoryDriver,
  nullAioDriver,
  nullCoDriver,
  qcow2Driver,
  rawDriver,
  throttleDriver,
]
