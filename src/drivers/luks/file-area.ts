// The part of a file that holds the header of a volume and its key material.

import type { Offset } from '../../common/units.js'
import type { BlockChild } from '../../io/block-node.js'
import { flush } from '../../io/flush.js'
import { read } from '../../io/read.js'
import { write } from '../../io/write.js'
import type { LuksArea } from './volume.js'

/** `bytes` bytes of `file` from `start` on. */
export function fileArea(file: BlockChild, start: Offset, bytes: number): LuksArea {
  return {
    bytes,
    read: (offset, into) => read(file, start + offset, into),
    write: (offset, data) => write(file, start + offset, data),
    flush: () => flush(file),
  }
}
