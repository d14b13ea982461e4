// Operation codes of the commands a disk answers (SPC-4, SBC-3), and status codes (SAM-5, 5.3).

export const TEST_UNIT_READY = 0x00
export const REQUEST_SENSE = 0x03
export const READ_6 = 0x08
export const WRITE_6 = 0x0a
export const INQUIRY = 0x12
export const MODE_SENSE_6 = 0x1a
export const START_STOP_UNIT = 0x1b
export const READ_CAPACITY_10 = 0x25
export const READ_10 = 0x28
export const WRITE_10 = 0x2a
export const SYNCHRONIZE_CACHE_10 = 0x35
export const WRITE_SAME_10 = 0x41
export const UNMAP = 0x42
export const MODE_SENSE_10 = 0x5a
export const READ_16 = 0x88
export const WRITE_16 = 0x8a
export const SYNCHRONIZE_CACHE_16 = 0x91
export const WRITE_SAME_16 = 0x93
export const SERVICE_ACTION_IN_16 = 0x9e
export const REPORT_LUNS = 0xa0
export const READ_12 = 0xa8
export const WRITE_12 = 0xaa

/** Service action of SERVICE ACTION IN(16). */
export const SAI_READ_CAPACITY_16 = 0x10

export const SCSI_GOOD = 0x00
export const SCSI_CHECK_CONDITION = 0x02

/** Longest command descriptor block here. */
export const SCSI_CDB_BYTES = 16
