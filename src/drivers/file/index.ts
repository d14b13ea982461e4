// The file driver: a regular file of the host (or, when asked, a block device) as a node.

import { createFileDriver } from './driver.js'

export const fileDriver = createFileDriver()
