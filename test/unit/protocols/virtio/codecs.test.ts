import { describe, expect, test } from 'vitest'
import {
  decodeBlkHeader,
  decodeBlkSegment,
  encodeBlkHeader,
  encodeBlkSegment,
  sectorToBytes,
} from '../../../../src/protocols/virtio/blk.js'
import { decodeBlkConfig, encodeBlkConfig } from '../../../../src/protocols/virtio/blk-config.js'
import { featureSet, featureWindow, hasFeature, withFeatureWindow } from '../../../../src/protocols/virtio/features.js'
import {
  availEventWord,
  availRingBytes,
  decodeDescriptor,
  descriptorTableBytes,
  encodeDescriptor,
  passesEvent,
  ringDistance,
  usedEventWord,
  usedRingBytes,
} from '../../../../src/protocols/virtio/split-ring.js'

describe('split ring layout', () => {
  test.each([
    [1, 16, 8, 14],
    [256, 4096, 518, 2054],
    [32768, 524288, 65542, 262150],
  ])('sizes of a queue of %i', (size, table, avail, used) => {
    expect([descriptorTableBytes(size), availRingBytes(size), usedRingBytes(size)]).toEqual([table, avail, used])
    // The event words are the last of their rings.
    expect(usedEventWord(size) * 2).toBe(avail - 2)
    expect(availEventWord(size) * 2).toBe(used - 2)
  })

  test('a descriptor by its bytes', () => {
    const bytes = new Uint8Array([1, 2, 3, 4, 5, 6, 7, 0x88, 0x10, 0x20, 0x30, 0xf0, 3, 0, 0x34, 0x12])
    const view = new DataView(bytes.buffer)
    const descriptor = decodeDescriptor(view, 0)
    expect(descriptor).toEqual({
      addressLow: 0x04030201,
      addressHigh: 0x88070605,
      length: 0xf0302010,
      flags: 3,
      next: 0x1234,
    })
    const copy = new Uint8Array(16)
    encodeDescriptor(new DataView(copy.buffer), 0, descriptor)
    expect(copy).toEqual(bytes)
  })

  test.each([
    // event, new, old: told when the entry at `event` was among those that came.
    [0, 1, 0, true],
    [0, 1, 1, false],
    [5, 5, 0, false],
    [5, 6, 0, true],
    [5, 9, 6, false],
    [0xffff, 0, 0xffff, true],
    [0xfffe, 3, 0xfffd, true],
    [3, 3, 0xfffd, false],
  ])('event %i, index from %i back to %i: %s', (event, now, old, expected) => {
    expect(passesEvent(event, now, old)).toBe(expected)
  })

  test('distance wraps', () => {
    expect(ringDistance(0xfffe, 2)).toBe(4)
    expect(ringDistance(2, 1)).toBe(0xffff)
  })
})

describe('features', () => {
  test('windows of 32 bits', () => {
    const set = featureSet(5, 31, 32, 63)
    expect(featureWindow(set, 0)).toBe(0x8000_0020)
    expect(featureWindow(set, 1)).toBe(0x8000_0001)
    expect([featureWindow(set, 2), featureWindow(set, -1)]).toEqual([0, 0])
    expect(withFeatureWindow(withFeatureWindow(0n, 0, 0x8000_0020), 1, 0x8000_0001 | 0)).toBe(set)
    expect(withFeatureWindow(set, 2, 1)).toBe(set)
    expect([hasFeature(set, 63), hasFeature(set, 62)]).toEqual([true, false])
  })
})

describe('blk', () => {
  test('header by its bytes', () => {
    const bytes = new Uint8Array([13, 0, 0, 0x80, 9, 9, 9, 9, 1, 2, 3, 4, 5, 6, 7, 0xf8])
    expect(decodeBlkHeader(new DataView(bytes.buffer), 0)).toEqual({
      type: 0x8000_000d,
      sectorLow: 0x04030201,
      sectorHigh: 0xf8070605,
    })
    const view = new DataView(new ArrayBuffer(16))
    encodeBlkHeader(view, 0, { type: 0x8000_000d, sectorLow: 0x04030201, sectorHigh: 0xf8070605 })
    const out = new Uint8Array(view.buffer)
    expect([...out]).toEqual([13, 0, 0, 0x80, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 0xf8])
  })

  test('segment by its bytes', () => {
    const bytes = new Uint8Array([1, 0, 0, 0, 2, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 1, 0, 0, 0x80])
    const segment = decodeBlkSegment(new DataView(bytes.buffer), 0)
    expect(segment).toEqual({ sectorLow: 1, sectorHigh: 2, sectors: 0xffff_ffff, flags: 0x8000_0001 })
    const copy = new Uint8Array(16)
    encodeBlkSegment(new DataView(copy.buffer), 0, segment)
    expect(copy).toEqual(bytes)
  })

  test('sectors to bytes', () => {
    expect(sectorToBytes(0, 3)).toBe(1536)
    expect(sectorToBytes(0xfff, 0xffff_ffff)).toBe((2 ** 44 - 1) * 512)
    expect(sectorToBytes(0x1000, 0)).toBeUndefined()
    expect(sectorToBytes(0xffff_ffff, 0xffff_ffff)).toBeUndefined()
  })

  test('configuration space: each field at its place', () => {
    const config = {
      capacity: 0x1_0000_0002,
      sizeMax: 3,
      segMax: 4,
      cylinders: 0x0203,
      heads: 14,
      sectors: 15,
      blkSize: 512,
      physicalBlockExp: 3,
      alignmentOffset: 1,
      minIoSize: 0x0506,
      optIoSize: 0x0708,
      writeback: 1,
      numQueues: 2,
      maxDiscardSectors: 9,
      maxDiscardSeg: 10,
      discardSectorAlignment: 11,
      maxWriteZeroesSectors: 12,
      maxWriteZeroesSeg: 13,
      writeZeroesMayUnmap: 1,
      maxSecureEraseSectors: 16,
      maxSecureEraseSeg: 17,
      secureEraseSectorAlignment: 18,
    }
    const bytes = encodeBlkConfig(config)
    expect(decodeBlkConfig(bytes)).toEqual(config)
    expect([...bytes]).toEqual([
      ...[2, 0, 0, 0, 1, 0, 0, 0, 3, 0, 0, 0, 4, 0, 0, 0, 3, 2, 14, 15, 0, 2, 0, 0, 3, 1, 6, 5, 8, 7, 0, 0],
      ...[1, 0, 2, 0, 9, 0, 0, 0, 10, 0, 0, 0, 11, 0, 0, 0, 12, 0, 0, 0, 13, 0, 0, 0, 1, 0, 0, 0],
      ...[16, 0, 0, 0, 17, 0, 0, 0, 18, 0, 0, 0],
      ...new Array(24).fill(0),
    ])
  })
})
