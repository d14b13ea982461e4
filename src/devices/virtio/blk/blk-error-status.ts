// The one place where an errno name becomes a status byte of virtio-blk (virtio 1.2, 5.2.6).

import type { ErrnoName } from '../../../common/errno.js'
import { VIRTIO_BLK_S_IOERR, VIRTIO_BLK_S_UNSUPP } from '../../../protocols/virtio/blk.js'

/** The status that tells a driver of an error of the backend. */
export function blkStatusOf(code: ErrnoName): number {
  return code === 'ENOTSUP' ? VIRTIO_BLK_S_UNSUPP : VIRTIO_BLK_S_IOERR
}
