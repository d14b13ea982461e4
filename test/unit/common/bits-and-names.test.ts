// The vocabulary of the library: bits, their names, and the rules between them.

import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  BDRV_BLOCK_ALLOCATED,
  BDRV_BLOCK_DATA,
  BDRV_BLOCK_EOF,
  BDRV_BLOCK_OFFSET_VALID,
  BDRV_BLOCK_RAW,
  BDRV_BLOCK_RECURSE,
  BDRV_BLOCK_ZERO,
  statusMeaning,
  statusNames,
} from '../../../src/common/block-status.js'
import {
  BDRV_CHILD_COW,
  BDRV_CHILD_DATA,
  BDRV_CHILD_FILTERED,
  BDRV_CHILD_IMAGE,
  BDRV_CHILD_METADATA,
  BDRV_CHILD_PRIMARY,
  childRoleFault,
  childRoleNames,
  childRolesFault,
} from '../../../src/common/child-role.js'
import { BLOCK_OP_TYPES } from '../../../src/common/op-types.js'
import * as openFlags from '../../../src/common/open-flags.js'
import {
  BLK_PERM_ALL,
  BLK_PERM_CONSISTENT_READ,
  BLK_PERM_RESIZE,
  BLK_PERM_WRITE,
  BLK_PERM_WRITE_UNCHANGED,
  DEFAULT_PERM_PASSTHROUGH,
  DEFAULT_PERM_UNCHANGED,
  isPermissionName,
  permissionFromName,
  permissionList,
  permissionNames,
} from '../../../src/common/permissions.js'
import * as request from '../../../src/common/request.js'

describe('block status', () => {
  it('has the values of the interface', () => {
    expect([
      BDRV_BLOCK_DATA,
      BDRV_BLOCK_ZERO,
      BDRV_BLOCK_OFFSET_VALID,
      BDRV_BLOCK_RAW,
      BDRV_BLOCK_ALLOCATED,
      BDRV_BLOCK_EOF,
      BDRV_BLOCK_RECURSE,
    ]).toEqual([1, 2, 4, 8, 16, 32, 64])
  })

  it.each([
    [1, 1, 1, 'zeroes', 'zeroes'],
    [1, 0, 1, 'bytes-at-map', 'data'],
    [0, 1, 1, 'zeroes', 'undefined'],
    [0, 0, 1, 'backing', 'undefined'],
    [1, 1, 0, 'zeroes', 'nowhere'],
    [1, 0, 0, 'layer-data', 'nowhere'],
    [0, 1, 0, 'zeroes', 'nowhere'],
    [0, 0, 0, 'backing', 'nowhere'],
  ])('data %d, zero %d, offset %d: reads %s, the map holds %s', (data, zero, offset, reads, atMap) => {
    const bits = data * BDRV_BLOCK_DATA + zero * BDRV_BLOCK_ZERO + offset * BDRV_BLOCK_OFFSET_VALID
    expect(statusMeaning(bits)).toEqual({ reads, atMap })
    // The other bits say nothing about content.
    expect(statusMeaning(bits | BDRV_BLOCK_EOF | BDRV_BLOCK_ALLOCATED)).toEqual({ reads, atMap })
  })

  it('has names', () => {
    expect(statusNames(0x35)).toEqual(['data', 'offset-valid', 'allocated', 'eof'])
    expect(statusNames(0)).toEqual([])
  })
})

describe('permissions', () => {
  it('have the values of the interface', () => {
    expect([BLK_PERM_CONSISTENT_READ, BLK_PERM_WRITE, BLK_PERM_WRITE_UNCHANGED, BLK_PERM_RESIZE, BLK_PERM_ALL]).toEqual(
      [1, 2, 4, 8, 15],
    )
    expect([DEFAULT_PERM_PASSTHROUGH, DEFAULT_PERM_UNCHANGED]).toEqual([15, 0])
  })

  it('are named as people and as options write them', () => {
    expect(permissionNames(BLK_PERM_ALL)).toBe('consistent read, write, write unchanged, resize')
    expect(permissionNames(0)).toBe('')
    expect(permissionNames(0x9)).toBe('consistent read, resize')
  })

  it('come back from their option names', () => {
    fc.assert(
      fc.property(fc.nat(15), (perm) => {
        expect(permissionList(perm).reduce((bits, name) => bits | permissionFromName(name), 0)).toBe(perm)
      }),
    )
    expect([
      isPermissionName('write-unchanged'),
      isPermissionName('write unchanged'),
      isPermissionName('toString'),
    ]).toEqual([true, false, false])
  })
})

describe('child roles', () => {
  it('have the values of the interface', () => {
    expect([
      BDRV_CHILD_DATA,
      BDRV_CHILD_METADATA,
      BDRV_CHILD_FILTERED,
      BDRV_CHILD_COW,
      BDRV_CHILD_PRIMARY,
      BDRV_CHILD_IMAGE,
    ]).toEqual([1, 2, 4, 8, 16, 19])
    expect(childRoleNames(BDRV_CHILD_IMAGE)).toEqual(['data', 'metadata', 'primary'])
  })

  it('of one edge are exactly these', () => {
    const sound = Array.from({ length: 32 }, (_, role) => role).filter((role) => childRoleFault(role) === undefined)
    // Data and metadata in any mixture, filtered alone, each primary or not; cow alone and never primary.
    expect(sound).toEqual([1, 2, 3, 4, 8, 17, 18, 19, 20])
  })

  it.each([
    [[19, 8], 'format', undefined],
    [[19, 1, 1, 2], 'format', undefined],
    [[20], 'format', undefined],
    [[], 'protocol', undefined],
    [[8, 8], 'format', 'more than one cow child'],
    [[17, 18], 'format', 'more than one primary child'],
    [[20, 4], 'filter', 'more than one filtered child'],
    [[20], 'filter', undefined],
    [[20, 1], 'filter', undefined],
    [[20, 8], 'filter', 'a filter has no cow child'],
    [[20, 17], 'filter', 'more than one primary child'],
    [[1], 'filter', 'a filter needs a filtered child'],
    [[], 'filter', 'a filter needs a filtered child'],
    [[4], 'filter', 'the filtered child of a filter is primary'],
    [[16], 'format', 'needs one of data, metadata, filtered, cow'],
  ] as const)('of siblings %j below a %s: %s', (roles, kind, expected) => {
    expect(childRolesFault(roles, kind)).toBe(expected)
  })
})

describe('flags', () => {
  it('of requests fill their mask', () => {
    const flags = Object.entries(request).filter(([name]) => name.startsWith('BDRV_REQ_') && name !== 'BDRV_REQ_MASK')
    expect(flags.map(([, value]) => value)).toEqual([1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024])
    expect(flags.reduce((mask, [, value]) => mask | Number(value), 0)).toBe(request.BDRV_REQ_MASK)
  })

  it('of an open node are distinct bits', () => {
    const flags = Object.entries(openFlags).filter(
      ([name]) => name.startsWith('BDRV_O_') && name !== 'BDRV_O_CACHE_MASK',
    )
    expect(flags).toHaveLength(18)
    expect(flags.reduce((sum, [, value]) => sum + Number(value), 0)).toBe(0x7ffff - 0x40)
    expect(openFlags.BDRV_O_CACHE_MASK).toBe(0x220)
  })

  it.each([
    ['none', 0x20, false],
    ['off', 0x20, false],
    ['directsync', 0x20, true],
    ['writeback', 0, false],
    ['unsafe', 0x200, false],
    ['writethrough', 0, true],
  ])('cache mode %s', (word, flags, writethrough) => {
    expect(openFlags.parseCacheMode(word)).toEqual({ flags, writethrough })
  })

  it('come from the words for discard and aio, and from no others', () => {
    expect(['off', 'ignore', 'on', 'unmap'].map(openFlags.parseDiscardFlags)).toEqual([0, 0, 0x4000, 0x4000])
    expect(['threads', 'native', 'io_uring'].map(openFlags.parseAio)).toEqual([0, 0x80, 0x40000])
    for (const word of ['', 'None', 'writeback ', 'toString']) {
      expect([openFlags.parseCacheMode(word), openFlags.parseDiscardFlags(word), openFlags.parseAio(word)]).toEqual([
        undefined,
        undefined,
        undefined,
      ])
    }
  })

  it('op types stand in the order of their values', () => {
    expect(BLOCK_OP_TYPES).toHaveLength(16)
    expect([
      BLOCK_OP_TYPES.indexOf('backup-source'),
      BLOCK_OP_TYPES.indexOf('resize'),
      BLOCK_OP_TYPES.indexOf('replace'),
    ]).toEqual([0, 13, 15])
  })
})
