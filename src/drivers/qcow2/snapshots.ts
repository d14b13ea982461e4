// Internal snapshots: other L1 tables over the same clusters (qcow2 specification, "Snapshots").

import type { HostOffset } from './layout.js'

/** An entry of the snapshot table. */
export interface Snapshot {
  l1TableOffset: HostOffset
  /** Entries of its L1 table. */
  l1Size: number
  id: string
  name: string
  dateSeconds: number
  dateNanoseconds: number
  vmClockNanoseconds: bigint
  /** In bytes. */
  vmStateSize: number
  /** Length of the disk in bytes; undefined where a version 2 image does not say. */
  diskSize: number | undefined
  /** Extra data behind the fields known here, kept as it is. */
  unknownExtra: Uint8Array
}
