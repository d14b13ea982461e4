// Encryption of guest data (qcow2 specification, "Data encryption"). Two methods: AES, of old, by a password that is the key and
// the place of the data on the guest's disk, and LUKS, by a header within the image and the place in the host's file.

import { BlockError, quoteOutside } from '../../../common/error.js'
import type { HostCrypto } from '../../../common/host-services.js'
import { BDRV_O_NO_IO } from '../../../common/open-flags.js'
import type { OpenContext } from '../../../global-state/driver.js'
import type { BlockChild } from '../../../io/block-node.js'
import type { CipherSpec } from '../../luks/cipher-spec.js'
import { fileArea } from '../../luks/file-area.js'
import { LUKS_SECTOR_BYTES } from '../../luks/header.js'
import { luksInfo } from '../../luks/info.js'
import type { KeySlots } from '../../luks/key-slots.js'
import { openPayload, readLuksHeader } from '../../luks/open.js'
import { SectorCipher } from '../../luks/sector-cipher.js'
import { cryptoOf, type LuksArea, passwordOf } from '../../luks/volume.js'
import type { HeaderExtensions } from '../format/extensions.js'
import { CRYPT_AES, CRYPT_LUKS, CRYPT_NONE, type Qcow2Header } from '../format/header.js'
import { type GuestOffset, type HostOffset, isClusterAligned, type Layout } from '../format/layout.js'
import type { Qcow2OptionValues } from '../options.js'

/** Encrypts and decrypts guest data in place. Ranges are multiples of `sectorSize`. */
export interface PayloadCipher {
  /** In bytes. */
  readonly sectorSize: number
  encrypt(hostOffset: HostOffset, guestOffset: GuestOffset, data: Uint8Array): void
  decrypt(hostOffset: HostOffset, guestOffset: GuestOffset, data: Uint8Array): void
}

/** The header of LUKS of an open image, for reports and for changes of passwords. */
export interface LuksInImage {
  readonly slots: KeySlots
  /** Id of the secret that opened the image; undefined where it was opened only to be asked about. */
  readonly secretId: string | undefined
}

/** The encryption of an open image. */
export interface ImageEncryption {
  readonly cipher: PayloadCipher
  /** Undefined for the method AES. */
  readonly luks: LuksInImage | undefined
}

/** What is asked of the image that is opened. */
interface Opening {
  readonly context: OpenContext
  readonly file: BlockChild
  readonly header: Qcow2Header
  readonly extensions: HeaderExtensions
  readonly layout: Layout
  readonly options: Qcow2OptionValues
}

const FORMAT_NAMES: Readonly<Record<number, string>> = { [CRYPT_AES]: 'aes', [CRYPT_LUKS]: 'luks' }

/**
 * The encryption of an image, undefined where it has none. EINVAL where options and image contradict each other, no secret is
 * named, or the header of LUKS is missing; EIO where that is damaged; EACCES for a wrong password, and for writing by the method
 * AES without having said so; ENOTSUP where the host or the library lacks the algorithm.
 */
export async function openEncryption(opening: Opening): Promise<ImageEncryption | undefined> {
  const { context, header, extensions, options } = opening
  const { cryptMethod } = header
  checkEncryptionFormat(header, options['encrypt.format'])
  if (cryptMethod !== CRYPT_LUKS && extensions.crypto !== undefined) {
    throw invalid('CRYPTO header extension only expected with LUKS encryption method')
  }
  // The header of an image in the making says how it is to be encrypted; nothing of it is so far.
  if (cryptMethod === CRYPT_NONE || context.creating) return undefined
  if (!context.readOnly && !mayBeWritten(header, options['encrypt.format'])) {
    context.applyAutoReadOnly('EACCES', INSECURE)
  }
  const crypto = cryptoOf(context.environment.services)
  const slots = cryptMethod === CRYPT_LUKS ? await readLuksHeader(crypto, headerArea(opening)) : undefined
  // Whoever only asks about the image has no key, and does not get to its data either.
  if ((context.openFlags & BDRV_O_NO_IO) !== 0) {
    return { cipher: lockedCipher, luks: slots === undefined ? undefined : { slots, secretId: undefined } }
  }
  const secretId = options['encrypt.key-secret']
  if (secretId === undefined) throw invalid("Parameter 'encrypt.key-secret' is required for cipher")
  const password = passwordOf(secretId, context.secret(secretId))
  if (slots === undefined) return { cipher: aesCipher(crypto, password), luks: undefined }
  const cipher = luksCipher(await openPayload(slots, password, context.signal))
  return { cipher, luks: { slots, secretId } }
}

const INSECURE = 'AES encryption is not secure: images with it are opened read-only without encrypt.format=aes'

/** Whether an image may be written to: by the method AES only where the user has named it. */
function mayBeWritten({ cryptMethod }: Qcow2Header, format: string | undefined): boolean {
  return cryptMethod !== CRYPT_AES || format === 'aes'
}

/** Judges the options of an image that is open already. EINVAL and EACCES as {@link openEncryption}. */
export function checkReopenedEncryption(header: Qcow2Header, format: string | undefined, readOnly: boolean): void {
  checkEncryptionFormat(header, format)
  if (!readOnly && !mayBeWritten(header, format)) throw new BlockError('EACCES', INSECURE)
}

/** What is told of the encryption of an image; undefined where it has none. */
export function encryptionInfo({ header, luks }: { header: Qcow2Header; luks: LuksInImage | undefined }) {
  if (header.cryptMethod === CRYPT_NONE) return undefined
  return luks === undefined ? { format: 'aes' } : { ...luksInfo(luks.slots), format: 'luks' }
}

function checkEncryptionFormat({ cryptMethod }: Qcow2Header, wanted: string | undefined): void {
  const format = FORMAT_NAMES[cryptMethod]
  if (wanted === undefined || wanted === format) return
  throw invalid(
    format === undefined
      ? `No encryption in image header, but options specified format ${quoteOutside(wanted)}`
      : `Header reported '${format}' encryption format but options specify ${quoteOutside(wanted)}`,
  )
}

function headerArea({ file, extensions, layout }: Opening): LuksArea {
  const { crypto } = extensions
  if (crypto === undefined) throw invalid(`Missing CRYPTO header for crypt method ${CRYPT_LUKS}`)
  if (!isClusterAligned(layout, crypto.offset)) {
    throw invalid(
      `Encryption header offset '${crypto.offset}' is not a multiple of cluster size '${layout.clusterSize}'`,
    )
  }
  return fileArea(file, crypto.offset, crypto.bytes)
}

/** The place in the host's file makes the vector, so that no two clusters of it have the same. */
export function luksCipher(sectors: SectorCipher): PayloadCipher {
  return {
    sectorSize: LUKS_SECTOR_BYTES,
    encrypt: (hostOffset, _guestOffset, data) => sectors.encrypt(hostOffset / LUKS_SECTOR_BYTES, data),
    decrypt: (hostOffset, _guestOffset, data) => sectors.decrypt(hostOffset / LUKS_SECTOR_BYTES, data),
  }
}

const AES_KEY_BYTES = 16

/** AES-128 in CBC; the first 16 bytes of the password are the key, the sector of the guest's disk is the vector. */
export function aesCipher(crypto: HostCrypto, password: Uint8Array): PayloadCipher {
  const key = new Uint8Array(AES_KEY_BYTES)
  key.set(password.subarray(0, AES_KEY_BYTES))
  const spec: CipherSpec = { mode: 'cbc', ivGenerator: 'plain64', ivHash: undefined, keyBytes: AES_KEY_BYTES }
  const sectors = new SectorCipher(crypto, spec, key)
  key.fill(0)
  password.fill(0)
  return {
    sectorSize: LUKS_SECTOR_BYTES,
    encrypt: (_hostOffset, guestOffset, data) => sectors.encrypt(guestOffset / LUKS_SECTOR_BYTES, data),
    decrypt: (_hostOffset, guestOffset, data) => sectors.decrypt(guestOffset / LUKS_SECTOR_BYTES, data),
  }
}

const lockedCipher: PayloadCipher = {
  sectorSize: LUKS_SECTOR_BYTES,
  encrypt: refuseLocked,
  decrypt: refuseLocked,
}

function refuseLocked(): never {
  throw new BlockError('EACCES', 'the image was opened without the key to its data')
}

function invalid(message: string): BlockError {
  return new BlockError('EINVAL', message)
}
