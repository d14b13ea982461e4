// Where a LUKS volume's header and key material are: a file, or a part of one (qcow2 keeps them in clusters of their own).

import { BlockError } from '../../common/error.js'
import type { HostCrypto, HostServices } from '../../common/host-services.js'
import type { Completion } from '../../io/node-io.js'

/** The bytes before the payload. Offsets count from the start of the volume. */
export interface LuksArea {
  /** Bytes that may be read or written. */
  readonly bytes: number
  /** Fills `into`. */
  read(offset: number, into: Uint8Array): Completion
  write(offset: number, data: Uint8Array): Completion
  flush(): Completion
}

/** The host's cryptography. ENOTSUP where it gives none. */
export function cryptoOf(services: HostServices): HostCrypto {
  if (services.crypto !== undefined) return services.crypto
  throw new BlockError('ENOTSUP', 'encryption needs cryptography of the host, and this graph has been given none', {
    hint: 'services: nodeServices',
  })
}

/** `data` if it is text, as passwords are. EINVAL naming the secret, not showing it. */
export function passwordOf(secretId: string, data: Uint8Array): Uint8Array {
  try {
    new TextDecoder('utf-8', { fatal: true }).decode(data)
  } catch {
    throw new BlockError('EINVAL', `Data from secret ${secretId} is not valid UTF-8`, { op: 'secret' })
  }
  return data
}
