// Encryption of guest data (qcow2 specification, "Data encryption").

import type { GuestOffset, HostOffset } from './layout.js'

/** Encrypts and decrypts guest data in place. Ranges are multiples of `sectorSize`. */
export interface PayloadCipher {
  /** In bytes. */
  readonly sectorSize: number
  encrypt(hostOffset: HostOffset, guestOffset: GuestOffset, data: Uint8Array): void
  decrypt(hostOffset: HostOffset, guestOffset: GuestOffset, data: Uint8Array): void
}
