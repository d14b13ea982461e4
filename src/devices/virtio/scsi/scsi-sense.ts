// The one place where an errno name becomes sense data.

import type { ErrnoName } from '../../../common/errno.js'
import type { RequestKind } from '../../../common/request.js'
import {
  SENSE_ABORTED,
  SENSE_INVALID_FIELD_IN_CDB,
  SENSE_NO_MEDIUM,
  SENSE_READ_ERROR,
  SENSE_SPACE_ALLOCATION_FAILED,
  SENSE_WRITE_ERROR,
  SENSE_WRITE_PROTECTED,
  type Sense,
} from '../../../protocols/scsi/sense.js'

/** The condition that tells a driver of an error of the backend. */
export function senseOf(code: ErrnoName, kind: RequestKind): Sense {
  switch (code) {
    case 'ENOMEDIUM':
      return SENSE_NO_MEDIUM
    case 'ENOSPC':
      return SENSE_SPACE_ALLOCATION_FAILED
    case 'EROFS':
    case 'EPERM':
    case 'EACCES':
      return SENSE_WRITE_PROTECTED
    case 'ENOTSUP':
    case 'EINVAL':
      return SENSE_INVALID_FIELD_IN_CDB
    case 'EIO':
      return kind === 'read' ? SENSE_READ_ERROR : SENSE_WRITE_ERROR
    default:
      return SENSE_ABORTED
  }
}
