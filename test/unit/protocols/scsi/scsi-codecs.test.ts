import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { decodeCommand } from '../../../../src/protocols/scsi/command.js'
import { decodeUnmapList, encodeCapacity10, encodeCapacity16 } from '../../../../src/protocols/scsi/disk-data.js'
import { decodeFixedSense, encodeDescriptorSense, encodeFixedSense } from '../../../../src/protocols/scsi/sense.js'
import { decodeScsiAddress, encodeScsiAddress } from '../../../../src/protocols/virtio/scsi.js'

const cdb = (...bytes: number[]) => Uint8Array.from({ length: 16 }, (_, i) => bytes[i] ?? 0)

describe('command descriptor blocks', () => {
  test.each([
    [[0x08, 0xff, 2, 3, 0], { kind: 'read', lba: 0x1f0203, blocks: 256, fua: false }],
    [[0x2a, 0x08, 0xff, 2, 3, 4, 0, 5, 6], { kind: 'write', lba: 0xff020304, blocks: 0x506, fua: true }],
    [[0xa8, 0, 1, 2, 3, 4, 0xff, 6, 7, 8], { kind: 'read', lba: 0x1020304, blocks: 0xff060708, fua: false }],
    [
      [0x8a, 0, 0, 0x1f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 1],
      { kind: 'write', lba: 2 ** 53 - 1, blocks: 0xff000001, fua: false },
    ],
    [[0x88, 0, 0, 0x20], { kind: 'read', lba: Number.POSITIVE_INFINITY, blocks: 0, fua: false }],
    [[0x28, 0x20], { kind: 'invalid-field' }],
    [[0x35, 0, 0, 0, 1, 0, 0, 0, 2], { kind: 'synchronize-cache', lba: 256, blocks: 2 }],
    [[0x42, 1, 0, 0, 0, 0, 0, 1, 2], { kind: 'unmap', anchor: true, listBytes: 0x102 }],
    [
      [0x93, 0x19, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 1],
      { kind: 'write-same', lba: 9, blocks: 1, unmap: true, anchor: true, noData: true },
    ],
    [
      [0x41, 0x01, 0, 0, 0, 9, 0, 0, 1],
      { kind: 'write-same', lba: 9, blocks: 1, unmap: false, anchor: false, noData: false },
    ],
    [[0x03, 1, 0, 0, 252], { kind: 'request-sense', descriptorFormat: true, allocation: 252 }],
    [[0x12, 1, 0x83, 1, 2], { kind: 'inquiry', vital: true, page: 0x83, allocation: 0x102 }],
    [
      [0x5a, 8, 0x48, 0xff, 0, 0, 0, 1, 2],
      { kind: 'mode-sense', long: true, control: 1, page: 8, subpage: 255, blockDescriptor: false, allocation: 0x102 },
    ],
    [[0x9e, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0], { kind: 'read-capacity', long: true, allocation: 0x1000000 }],
    [[0xa0, 0, 2, 0, 0, 0, 0, 0, 1, 0], { kind: 'report-luns', select: 2, allocation: 256 }],
    [[0x9e, 0x12], { kind: 'unknown' }],
    [[0xc1], { kind: 'unknown' }],
  ])('%j', (bytes, expected) => {
    expect(decodeCommand(cdb(...bytes))).toEqual(expected)
  })

  test('any sixteen bytes are a command', () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 16, maxLength: 32 }), (bytes) => {
        expect(decodeCommand(bytes).kind).toMatch(/^[a-z-]+$/)
      }),
    )
  })
})

describe('sense data', () => {
  test('both formats', () => {
    const condition = { key: 5, asc: 0x24, ascq: 1 }
    const fixed = encodeFixedSense(condition)
    expect([...fixed]).toEqual([0x70, 0, 5, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0x24, 1, 0, 0, 0, 0])
    expect(decodeFixedSense(fixed)).toEqual(condition)
    expect([...encodeDescriptorSense(condition)]).toEqual([0x72, 5, 0x24, 1, 0, 0, 0, 0])
  })
})

describe('capacities', () => {
  test('that do not fit into 32 bits', () => {
    const capacity = { blocks: 2 ** 33 + 1, blockSize: 4096, physicalBlockExp: 0, thin: false }
    expect([...encodeCapacity10(capacity)]).toEqual([255, 255, 255, 255, 0, 0, 16, 0])
    expect([...encodeCapacity16(capacity).subarray(0, 12)]).toEqual([0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 16, 0])
  })
})

describe('lists to unmap', () => {
  test('take what is whole, and refuse what is cut', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 100 }), (bytes) => {
        const ranges = decodeUnmapList(bytes)
        expect(ranges === undefined || ranges.length * 16 + 8 <= bytes.length).toBe(true)
      }),
    )
    expect(decodeUnmapList(Uint8Array.of(0, 6, 0, 0, 0, 0, 0, 0))).toEqual([])
    expect(decodeUnmapList(Uint8Array.of(0, 5, 0, 0, 0, 0, 0, 0))).toBeUndefined()
  })
})

describe('addresses', () => {
  test('are what they were', () => {
    const bytes = new Uint8Array(8)
    for (const [target, lun] of [
      [0, 0],
      [255, 255],
      [7, 256],
      [7, 16383],
    ] as const) {
      encodeScsiAddress(bytes, 0, target, lun)
      expect(decodeScsiAddress(bytes, 0)).toEqual({ kind: 'unit', target, lun })
    }
  })
})
