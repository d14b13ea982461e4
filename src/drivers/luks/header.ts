// The header of a LUKS volume of version 1 (LUKS1 On-Disk Format Specification 1.2.3, figures 1 to 3): big-endian, 592 bytes,
// eight key slots. Offsets are in sectors of 512 bytes on disk and in bytes here.

import { BlockError, quoteOutside } from '../../common/error.js'

/** Bytes of the header. */
export const LUKS_HEADER_BYTES = 592

export const LUKS_SECTOR_BYTES = 512

export const LUKS_NUM_KEYS = 8

/** Of the anti-forensic splitter: no writer has used another number. */
export const LUKS_STRIPES = 4000

/** Bytes of a salt and of the master key's digest. */
export const LUKS_SALT_BYTES = 32
export const LUKS_DIGEST_BYTES = 20

const LUKS_MAGIC = [0x4c, 0x55, 0x4b, 0x53, 0xba, 0xbe] as const
const LUKS_KEY_ENABLED = 0x00ac71f3
const LUKS_KEY_DISABLED = 0x0000dead

const TEXT_BYTES = 32
const UUID_BYTES = 40
const FIRST_SLOT = 208
const SLOT_BYTES = 48

/** A key slot. */
export interface LuksKeySlot {
  active: boolean
  /** Of PBKDF2. */
  iterations: number
  salt: Uint8Array
  /** Bytes from the start of the volume. */
  keyMaterialOffset: number
  /** Of the anti-forensic splitter. */
  stripes: number
}

/** The header, its texts as they stand there. */
export interface LuksHeader {
  cipherName: string
  cipherMode: string
  hashSpec: string
  /** Bytes from the start of the volume to its payload. */
  payloadOffset: number
  keyBytes: number
  mkDigest: Uint8Array
  mkDigestSalt: Uint8Array
  mkDigestIterations: number
  uuid: string
  keySlots: LuksKeySlot[]
}

/** Whether `bytes` begin like a LUKS volume of any version. */
export function isLuks(bytes: Uint8Array): boolean {
  return LUKS_MAGIC.every((byte, index) => bytes[index] === byte)
}

/** Reads a header; what its fields mean is not judged. EINVAL where there is none, ENOTSUP for another version, EIO for damage. */
export function decodeLuksHeader(bytes: Uint8Array): LuksHeader {
  if (!isLuks(bytes)) throw new BlockError('EINVAL', 'Volume is not in LUKS format', { op: 'open' })
  if (bytes.length < LUKS_HEADER_BYTES) throw new BlockError('EIO', 'the LUKS header is cut off', { op: 'open' })
  const view = new DataView(bytes.buffer, bytes.byteOffset, LUKS_HEADER_BYTES)
  const version = view.getUint16(6)
  if (version !== 1) throw new BlockError('ENOTSUP', `LUKS version ${version} is not supported`, { op: 'open' })
  return {
    cipherName: textAt(bytes, 8, TEXT_BYTES),
    cipherMode: textAt(bytes, 40, TEXT_BYTES),
    hashSpec: textAt(bytes, 72, TEXT_BYTES),
    payloadOffset: view.getUint32(104) * LUKS_SECTOR_BYTES,
    keyBytes: view.getUint32(108),
    mkDigest: Uint8Array.from(bytes.subarray(112, 112 + LUKS_DIGEST_BYTES)),
    mkDigestSalt: Uint8Array.from(bytes.subarray(132, 132 + LUKS_SALT_BYTES)),
    mkDigestIterations: view.getUint32(164),
    uuid: textAt(bytes, 168, UUID_BYTES),
    keySlots: Array.from({ length: LUKS_NUM_KEYS }, (_, index) => decodeSlot(view, bytes, index)),
  }
}

function decodeSlot(view: DataView, bytes: Uint8Array, index: number): LuksKeySlot {
  const at = FIRST_SLOT + index * SLOT_BYTES
  const state = view.getUint32(at)
  if (state !== LUKS_KEY_ENABLED && state !== LUKS_KEY_DISABLED) {
    throw new BlockError('EIO', `Keyslot ${index} state (active/disable) is corrupted`, { op: 'open' })
  }
  return {
    active: state === LUKS_KEY_ENABLED,
    iterations: view.getUint32(at + 4),
    salt: Uint8Array.from(bytes.subarray(at + 8, at + 8 + LUKS_SALT_BYTES)),
    keyMaterialOffset: view.getUint32(at + 40) * LUKS_SECTOR_BYTES,
    stripes: view.getUint32(at + 44),
  }
}

/** Texts end at their first zero, or with their field. */
function textAt(bytes: Uint8Array, at: number, length: number): string {
  const field = bytes.subarray(at, at + length)
  const end = field.indexOf(0)
  return String.fromCharCode(...(end < 0 ? field : field.subarray(0, end)))
}

/** The 592 bytes of `header`. EINVAL for a text that does not fit. */
export function encodeLuksHeader(header: LuksHeader): Uint8Array {
  const bytes = new Uint8Array(LUKS_HEADER_BYTES)
  const view = new DataView(bytes.buffer)
  bytes.set(LUKS_MAGIC)
  view.setUint16(6, 1)
  setText(bytes, 8, TEXT_BYTES, header.cipherName)
  setText(bytes, 40, TEXT_BYTES, header.cipherMode)
  setText(bytes, 72, TEXT_BYTES, header.hashSpec)
  view.setUint32(104, header.payloadOffset / LUKS_SECTOR_BYTES)
  view.setUint32(108, header.keyBytes)
  bytes.set(header.mkDigest.subarray(0, LUKS_DIGEST_BYTES), 112)
  bytes.set(header.mkDigestSalt.subarray(0, LUKS_SALT_BYTES), 132)
  view.setUint32(164, header.mkDigestIterations)
  setText(bytes, 168, UUID_BYTES, header.uuid)
  for (const [index, slot] of header.keySlots.entries()) {
    const at = FIRST_SLOT + index * SLOT_BYTES
    view.setUint32(at, slot.active ? LUKS_KEY_ENABLED : LUKS_KEY_DISABLED)
    view.setUint32(at + 4, slot.iterations)
    bytes.set(slot.salt.subarray(0, LUKS_SALT_BYTES), at + 8)
    view.setUint32(at + 40, slot.keyMaterialOffset / LUKS_SECTOR_BYTES)
    view.setUint32(at + 44, slot.stripes)
  }
  return bytes
}

function setText(bytes: Uint8Array, at: number, length: number, text: string): void {
  if (text.length > length) throw new BlockError('EINVAL', `${quoteOutside(text)} does not fit into a LUKS header`)
  for (let index = 0; index < text.length; index += 1) bytes[at + index] = text.charCodeAt(index)
}
