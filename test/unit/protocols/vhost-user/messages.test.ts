import { describe, expect, test } from 'vitest'
import { decodeConfig, encodeConfig } from '../../../../src/protocols/vhost-user/config.js'
import { decodeHeader, encodeMessage } from '../../../../src/protocols/vhost-user/header.js'
import { decodeIotlb, encodeIotlb } from '../../../../src/protocols/vhost-user/iotlb.js'
import {
  decodeMemoryRegion,
  decodeMemoryTable,
  encodeMemoryRegion,
  encodeMemoryTable,
} from '../../../../src/protocols/vhost-user/memory-regions.js'
import { messageName } from '../../../../src/protocols/vhost-user/messages.js'
import {
  decodeU64,
  decodeVringAddress,
  decodeVringDescriptor,
  decodeVringState,
  encodeU64,
  encodeVringAddress,
  encodeVringDescriptor,
  encodeVringState,
} from '../../../../src/protocols/vhost-user/payloads.js'
import {
  decodeInflight,
  decodeLog,
  decodeVringArea,
  encodeInflight,
  encodeLog,
  encodeVringArea,
} from '../../../../src/protocols/vhost-user/shared-area.js'
import { codeOf } from '../../../support/code-of.js'

function bytes(hex: string): Uint8Array {
  return new Uint8Array(Buffer.from(hex.replaceAll(' ', ''), 'hex'))
}

function hex(data: Uint8Array): string {
  return Buffer.from(data).toString('hex')
}

const region = {
  guestAddress: 0x1000n,
  size: 0x2000n,
  userAddress: 0x7f00_0000_0000n,
  mmapOffset: 0x3000n,
  xen: undefined,
}
const REGION = '0010000000000000 0020000000000000 00000000007f0000 0030000000000000'

/** What a payload says, what it is as bytes, and both ways. */
const TABLE: [string, string, unknown, (payload: Uint8Array) => unknown, () => Uint8Array][] = [
  ['u64', 'efcdab8967452301', 0x0123_4567_89ab_cdefn, decodeU64, () => encodeU64(0x0123_4567_89ab_cdefn)],
  [
    'vring state',
    '02000000 00010000',
    { index: 2, num: 256 },
    decodeVringState,
    () => encodeVringState({ index: 2, num: 256 }),
  ],
  [
    'vring addresses',
    '01000000 01000000 1000000000000000 2000000000000000 3000000000000000 4000000000000000',
    { index: 1, flags: 1, descriptor: 0x10n, used: 0x20n, available: 0x30n, log: 0x40n },
    decodeVringAddress,
    () => encodeVringAddress({ index: 1, flags: 1, descriptor: 0x10n, used: 0x20n, available: 0x30n, log: 0x40n }),
  ],
  [
    'vring descriptor',
    '0300000000000000',
    { index: 3, hasDescriptor: true },
    decodeVringDescriptor,
    () => encodeVringDescriptor({ index: 3, hasDescriptor: true }),
  ],
  [
    'vring without descriptor',
    '0301000000000000',
    { index: 3, hasDescriptor: false },
    decodeVringDescriptor,
    () => encodeVringDescriptor({ index: 3, hasDescriptor: false }),
  ],
  [
    'memory table',
    `02000000 00000000 ${REGION} ${REGION}`,
    [region, region],
    (payload) => decodeMemoryTable(payload, false),
    () => encodeMemoryTable([region, region]),
  ],
  [
    'single region',
    `0000000000000000 ${REGION}`,
    region,
    (payload) => decodeMemoryRegion(payload, false),
    () => encodeMemoryRegion(region),
  ],
  [
    'region with the fields of Xen',
    `0000000000000000 ${REGION} 02010000 07000000`,
    { ...region, xen: { flags: 0x102, domain: 7 } },
    (payload) => decodeMemoryRegion(payload, true),
    () => encodeMemoryRegion({ ...region, xen: { flags: 0x102, domain: 7 } }),
  ],
  [
    'table with the fields of Xen',
    `01000000 00000000 ${REGION} 01000000 05000000`,
    [{ ...region, xen: { flags: 1, domain: 5 } }],
    (payload) => decodeMemoryTable(payload, true),
    () => encodeMemoryTable([{ ...region, xen: { flags: 1, domain: 5 } }]),
  ],
  [
    'configuration',
    '20000000 02000000 01000000 aabb',
    { offset: 32, size: 2, flags: 1, data: bytes('aabb') },
    decodeConfig,
    () => encodeConfig({ offset: 32, size: 2, flags: 1, data: bytes('aabb') }),
  ],
  [
    'requests in flight',
    '0010000000000000 0020000000000000 0400 8000 00000000',
    { mmapSize: 0x1000n, mmapOffset: 0x2000n, queues: 4, queueSize: 128 },
    decodeInflight,
    () => encodeInflight({ mmapSize: 0x1000n, mmapOffset: 0x2000n, queues: 4, queueSize: 128 }),
  ],
  [
    'log',
    '0010000000000000 0020000000000000',
    { size: 0x1000n, offset: 0x2000n },
    decodeLog,
    () => encodeLog({ size: 0x1000n, offset: 0x2000n }),
  ],
  [
    'vring area',
    '0401000000000000 0010000000000000 0020000000000000',
    { index: 4, hasDescriptor: false, size: 0x1000n, offset: 0x2000n },
    decodeVringArea,
    () => encodeVringArea({ index: 4, hasDescriptor: false, size: 0x1000n, offset: 0x2000n }),
  ],
  [
    'IOTLB message',
    '0100000000000000 0200000000000000 0300000000000000 03 02',
    { iova: 1n, size: 2n, userAddress: 3n, permissions: 3, type: 2 },
    decodeIotlb,
    () => encodeIotlb({ iova: 1n, size: 2n, userAddress: 3n, permissions: 3, type: 2 }),
  ],
]

describe('payloads', () => {
  test.each(TABLE)('%s', (_name, text, value, decode, encode) => {
    expect(decode(bytes(text))).toEqual(value)
    expect(hex(encode())).toBe(hex(bytes(text)))
  })

  test.each(TABLE)('%s: longer is as good, shorter is refused at every length', async (name, text, value, decode) => {
    const whole = bytes(text)
    const longer = new Uint8Array(whole.length + 40)
    longer.set(whole)
    expect(decode(longer)).toEqual(value)
    // The padding at the end of the C structure may be missing.
    const needed = name === 'requests in flight' ? 20 : whole.length
    for (let length = 0; length < needed; length++) {
      expect(await codeOf(() => decode(whole.subarray(0, length))), `${length} bytes`).toBe('EPROTO')
    }
  })

  test('answers are as long as they are wanted', () => {
    expect(encodeConfig({ offset: 0, size: 1, flags: 0, data: bytes('ff') }, 20)).toHaveLength(20)
    expect(encodeInflight({ mmapSize: 1n, mmapOffset: 0n, queues: 1, queueSize: 1 }, 20)).toHaveLength(20)
  })

  test('a configuration access outside every space is refused (threats.md U06)', async () => {
    const access = (offset: number, size: number) => {
      const payload = new Uint8Array(12 + 300)
      new DataView(payload.buffer).setUint32(0, offset, true)
      new DataView(payload.buffer).setUint32(4, size, true)
      return () => decodeConfig(payload)
    }
    expect(await codeOf(access(0, 0))).toBe('EINVAL')
    expect(await codeOf(access(0, 257))).toBe('EINVAL')
    expect(await codeOf(access(0xffff_ffff, 1))).toBe('EINVAL')
    expect(await codeOf(access(0xffff_ffff, 0xffff_ffff))).toBe('EINVAL')
    expect(await codeOf(access(255, 2))).toBe('EINVAL')
    expect(await codeOf(access(255, 1))).toBeUndefined()
  })

  test('numbers that mean nothing are refused', async () => {
    expect(await codeOf(() => decodeVringDescriptor(encodeU64(0x200)))).toBe('EPROTO')
    expect(await codeOf(() => decodeVringDescriptor(encodeU64(1n << 63n)))).toBe('EPROTO')
    expect(await codeOf(() => decodeMemoryTable(bytes('09000000 00000000'), false))).toBe('EPROTO')
    expect(await codeOf(() => decodeMemoryTable(bytes('ffffffff 00000000'), false))).toBe('EPROTO')
    expect(await codeOf(() => decodeIotlb(new Uint8Array(26)))).toBe('EPROTO')
    expect(decodeMemoryTable(bytes('00000000 00000000'), false)).toEqual([])
  })
})

describe('headers', () => {
  test.each([
    ['01000000 01000000 00000000', { request: 1, needReply: false, reply: false, size: 0 }],
    ['05000000 09000000 48000000', { request: 5, needReply: true, reply: false, size: 72 }],
    ['0b000000 05000000 08000000', { request: 11, needReply: false, reply: true, size: 8 }],
    ['ffffffff 01000000 00100000', { request: 0xffff_ffff, needReply: false, reply: false, size: 4096 }],
  ])('%s', (text, header) => {
    expect(decodeHeader(bytes(text))).toEqual(header)
  })

  test.each(['01000000 00000000 00000000', '01000000 02000000 00000000', '01000000 03000000 00000000'])(
    'another version is refused: %s',
    async (text) => {
      expect(await codeOf(() => decodeHeader(bytes(text)))).toBe('EPROTO')
    },
  )

  test('a payload nobody could mean is refused (threats.md U03)', async () => {
    expect(await codeOf(() => decodeHeader(bytes('01000000 01000000 01100000')))).toBe('EPROTO')
    expect(await codeOf(() => decodeHeader(bytes('01000000 01000000 ffffffff')))).toBe('EPROTO')
  })

  test('messages', () => {
    expect(hex(encodeMessage(1, bytes('0102'), { reply: true }))).toBe('0100000005000000020000000102')
    expect(hex(encodeMessage(2, new Uint8Array(0), { needReply: true }))).toBe('020000000900000000000000')
    expect(messageName(37)).toBe('ADD_MEM_REG')
    expect(messageName(77)).toBe('message 77')
  })
})
