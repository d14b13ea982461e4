// Empty encrypted qcow2 images in memory, their few tables put down by hand.

import { planEncryption } from '../../src/drivers/qcow2/encryption/create-encryption.js'
import { encodeExtensions, noExtensions } from '../../src/drivers/qcow2/format/extensions.js'
import {
  CRYPT_LUKS,
  decodeHeader,
  encodeHeader,
  HEADER_BYTES_V3,
  type Qcow2Header,
} from '../../src/drivers/qcow2/format/header.js'
import { host } from '../../src/drivers/qcow2/format/layout.js'
import { createEnvironment } from '../../src/io/environment.js'
import { nodeServices } from '../../src/platform/services.js'
import { memoryArea, password } from './luks-volume.js'
import { VirtualClock } from './virtual-clock.js'

const CLUSTER_BITS = 16
const CLUSTER = 2 ** CLUSTER_BITS

/** Where the header of LUKS begins: behind header, refcount table, refcount block and L1 table. */
export const CRYPTO_OFFSET = 4 * CLUSTER

/** The cheapest of all ciphers to make, in bytes of key material. */
export const SMALL_LUKS = {
  'encrypt.format': 'luks',
  'encrypt.key-secret': 's0',
  'encrypt.cipher-alg': 'aes-128',
  'encrypt.cipher-mode': 'cbc',
  'encrypt.ivgen-alg': 'essiv',
  'encrypt.iter-time': 0,
}

export const OLD_AES = { 'encrypt.format': 'aes', 'encrypt.key-secret': 's0' }

/** What a plan of encryption is made in: a secret `s0` that is `said`. */
export const creationContext = (said: string) => ({
  environment: createEnvironment({ services: nodeServices, clock: new VirtualClock() }),
  secret: (id: string) => password(id === 's0' ? said : ''),
})

/** An image of `size` bytes that `said` opens; `change` may spoil its header. */
export async function encryptedQcow2(
  said: string,
  size: number,
  options: Readonly<Record<string, unknown>> = SMALL_LUKS,
  change: (header: Qcow2Header) => void = () => {},
): Promise<Uint8Array> {
  const plan = planEncryption(creationContext(said), options)
  const cryptoBytes = plan?.headerBytes ?? 0
  const clusters = 4 + Math.ceil(cryptoBytes / CLUSTER)
  const image = new Uint8Array(clusters * CLUSTER)
  await plan?.write(memoryArea(image.subarray(CRYPTO_OFFSET, CRYPTO_OFFSET + cryptoBytes)))
  const header = emptyHeader(size, plan?.cryptMethod ?? 0)
  change(header)
  encodeHeader(header, image)
  const crypto = header.cryptMethod === CRYPT_LUKS ? { offset: host(CRYPTO_OFFSET), bytes: cryptoBytes } : undefined
  image.set(encodeExtensions({ ...noExtensions(), crypto }, false), HEADER_BYTES_V3)
  const view = new DataView(image.buffer)
  view.setBigUint64(CLUSTER, BigInt(2 * CLUSTER))
  for (let index = 0; index < clusters; index += 1) view.setUint16(2 * CLUSTER + 2 * index, 1)
  return image
}

function emptyHeader(size: number, cryptMethod: number): Qcow2Header {
  const start = new Uint8Array(HEADER_BYTES_V3)
  const view = new DataView(start.buffer)
  view.setUint32(0, 0x514649fb)
  view.setUint32(4, 3)
  view.setUint32(20, CLUSTER_BITS)
  view.setUint32(100, HEADER_BYTES_V3)
  return {
    ...decodeHeader(start),
    size,
    cryptMethod,
    l1Size: 1,
    l1TableOffset: host(3 * CLUSTER),
    refcountTableOffset: host(CLUSTER),
    refcountTableClusters: 1,
    refcountOrder: 4,
  }
}
