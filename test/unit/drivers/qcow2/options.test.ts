// What the runtime options come to for an image: memory for tables, checks, discards.

import { describe, expect, test } from 'vitest'
import { decodeHeader } from '../../../../src/drivers/qcow2/format/header.js'
import { createLayout } from '../../../../src/drivers/qcow2/format/layout.js'
import { QCOW2_OPTIONS, type Qcow2Settings, resolveSettings } from '../../../../src/drivers/qcow2/options.js'
import { readOptions } from '../../../../src/global-state/options/option-schema.js'
import type { FlatOptions } from '../../../../src/global-state/options/options.js'
import { codeOf } from '../../../support/code-of.js'
import { emptyImage, type HandMadeOptions } from '../../../support/qcow2-image.js'

const KiB = 1024
const MiB = 1024 * KiB
const GiB = 1024 * MiB

/** The settings of an image of 64 KiB clusters and `size` bytes. */
function settingsOf(options: FlatOptions, size = 8 * GiB, made: HandMadeOptions = {}, unmap = false): Qcow2Settings {
  const { clusterBits = 16, extendedL2 = false } = made
  const header = decodeHeader(emptyImage(512, { clusterBits: 16, ...made }).slice(0, 512))
  const { values } = readOptions(QCOW2_OPTIONS, options, { driver: 'qcow2' })
  return resolveSettings(values, { ...header, size }, createLayout(clusterBits, 4, extendedL2), unmap)
}

/** Bytes of both caches, and of one entry of that for L2 tables. */
function memory(
  options: FlatOptions,
  size?: number,
  made?: HandMadeOptions,
): [l2: number, counts: number, entry: number] {
  const settings = settingsOf(options, size, made)
  const clusterSize = 2 ** (made?.clusterBits ?? 16)
  const { l2CacheEntries, l2SliceBytes, refcountCacheEntries } = settings
  return [l2CacheEntries * l2SliceBytes, refcountCacheEntries * clusterSize, l2SliceBytes]
}

describe('memory for tables, by default', () => {
  test.each<[words: string, size: number, l2: number, entry: number]>([
    // 8 bytes for each cluster: 1 MiB of table maps 8 GiB.
    ['8 GiB need 1 MiB', 8 * GiB, MiB, 64 * KiB],
    ['256 GiB need the 32 MiB there are', 256 * GiB, 32 * MiB, 64 * KiB],
    ['1 TiB would need 128: pieces of 4 KiB then', 1024 * GiB, 32 * MiB, 4 * KiB],
  ])('%s', (_words, size, l2, entry) => {
    expect(memory({}, size)).toEqual([l2, 4 * 64 * KiB, entry])
  })

  test('entries of images with subclusters are twice as large', () => {
    expect(memory({}, 8 * GiB, { extendedL2: true })[0]).toBe(2 * MiB)
  })

  test('two L2 entries and four refcount blocks are the least', () => {
    expect(memory({ 'l2-cache-size': 1, 'refcount-cache-size': 1 })).toEqual([2 * 4 * KiB, 4 * 64 * KiB, 4 * KiB])
  })
})

describe('memory for tables, by options', () => {
  test.each<[options: FlatOptions, l2: number, counts: number]>([
    [{ 'l2-cache-size': 512 * KiB }, 512 * KiB, 256 * KiB],
    // No more than the image can use.
    [{ 'l2-cache-size': 64 * MiB }, MiB, 256 * KiB],
    [{ 'refcount-cache-size': 512 * KiB }, MiB, 512 * KiB],
    [{ 'cache-size': 2 * MiB }, MiB, MiB],
    [{ 'cache-size': 512 * KiB }, 256 * KiB, 256 * KiB],
    [{ 'cache-size': 2 * MiB, 'l2-cache-size': 512 * KiB }, 512 * KiB, 1536 * KiB],
    [{ 'cache-size': MiB, 'refcount-cache-size': 512 * KiB }, 512 * KiB, 512 * KiB],
  ])('%j', (options, l2, counts) => {
    expect(memory(options).slice(0, 2)).toEqual([l2, counts])
  })

  test.each<[FlatOptions]>([
    [{ 'cache-size': MiB, 'l2-cache-size': 512 * KiB, 'refcount-cache-size': 512 * KiB }],
    [{ 'cache-size': MiB, 'l2-cache-size': 2 * MiB }],
    [{ 'cache-size': MiB, 'refcount-cache-size': 2 * MiB }],
    [{ 'l2-cache-entry-size': 256 }],
    [{ 'l2-cache-entry-size': 1000 }],
    [{ 'l2-cache-entry-size': 128 * KiB }],
    [{ 'cache-clean-interval': -1 }],
    [{ 'overlap-check': 'some' }],
    [{ 'overlap-check.l3': true }],
  ])('%j is refused', async (options) => {
    expect(await codeOf(() => settingsOf(options))).toBe('EINVAL')
  })

  test.each([512, 4 * KiB, 64 * KiB])('l2-cache-entry-size=%i', (bytes) => {
    expect(settingsOf({ 'l2-cache-entry-size': bytes }).l2SliceBytes).toBe(bytes)
  })
})

describe('the others', () => {
  test('tables are dropped after ten minutes, or as the option says, in seconds', () => {
    expect([settingsOf({}).cacheCleanMs, settingsOf({ 'cache-clean-interval': 5 }).cacheCleanMs]).toEqual([
      600_000, 5000,
    ])
  })

  test('lazy refcounts as the image says, unless the option does; never in version 2', async () => {
    const lazy = (options: FlatOptions, made: HandMadeOptions = {}) => settingsOf(options, GiB, made).lazyRefcounts
    expect([lazy({}), lazy({}, { lazyRefcounts: true })]).toEqual([false, true])
    expect(lazy({ 'lazy-refcounts': false }, { lazyRefcounts: true })).toBe(false)
    expect(await codeOf(() => lazy({ 'lazy-refcounts': true }, { version: 2 }))).toBe('EINVAL')
  })

  test('discards of requests go on where the node passes them, of snapshots always, of others never', () => {
    expect(settingsOf({}).passDiscard).toEqual({ request: false, snapshot: true, other: false })
    expect(settingsOf({}, GiB, {}, true).passDiscard).toEqual({ request: true, snapshot: true, other: false })
    const given = { 'pass-discard-request': false, 'pass-discard-snapshot': false, 'pass-discard-other': true }
    expect(settingsOf(given, GiB, {}, true).passDiscard).toEqual({ request: false, snapshot: false, other: true })
  })

  test('what is checked before a write: all that is known from memory, unless told otherwise', () => {
    const checks = (options: FlatOptions) => [...settingsOf(options).overlapChecks].sort()
    const constant = ['active-l1', 'bitmap-directory', 'main-header', 'refcount-table', 'snapshot-table']
    const cached = [...constant, 'active-l2', 'inactive-l1', 'refcount-block'].sort()
    expect(checks({})).toEqual(cached)
    expect(checks({ 'overlap-check': 'none' })).toEqual([])
    expect(checks({ 'overlap-check': 'constant' })).toEqual(constant)
    expect(checks({ 'overlap-check': 'all' })).toEqual([...cached, 'inactive-l2'].sort())
    const mixed = { 'overlap-check.template': 'constant', 'overlap-check.inactive-l2': true }
    expect(checks({ ...mixed, 'overlap-check.main-header': false })).toEqual(
      [...constant, 'inactive-l2'].filter((name) => name !== 'main-header').sort(),
    )
  })
})
