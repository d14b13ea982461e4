// Positions on the disk and in the file are both numbers, and cannot be taken for each other.

import { type GuestOffset, guest, type HostOffset, host } from '../../src/drivers/qcow2/format/layout.js'

const onDisk: GuestOffset = guest(4096)
const inFile: HostOffset = host(65536)

/** Stands for whatever wants one of them. */
declare function readsDisk(offset: GuestOffset): void
declare function readsFile(offset: HostOffset): void

readsDisk(onDisk)
readsFile(inFile)
// @ts-expect-error A position in the file is none on the disk.
readsDisk(inFile)
// @ts-expect-error Nor the reverse.
readsFile(onDisk)
// @ts-expect-error A mere number says neither.
readsFile(4096)
// @ts-expect-error What is computed from one has to be marked again.
readsFile(inFile + 512)
export const both: number = onDisk + inFile
