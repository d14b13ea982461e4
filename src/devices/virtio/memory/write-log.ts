// Who has to know what a device writes into guest memory: a migration, which copies pages while the guest runs and copies
// those again that were written since. A processor's writes are seen by its hypervisor, those of a device by nobody else.

/**
 * Hears of writes behind each of them and before the driver can see what they were for, so that whoever clears a note,
 * and then copies, copies what was written. More may be told of than was written, never less.
 */
export interface WriteLog {
  /** A request may have written `bytes` bytes from guest address `address` on. */
  buffer(address: number, bytes: number): void
  /** Something was written into the ring of queue `index`: used entries, or what the device says of notifications. */
  ring(index: number): void
}
