// Changes of the header: what is unknown in it is kept, and what could not be written has not happened.

import { describe, expect, test } from 'vitest'
import { BDRV_FIX_ERRORS } from '../../../../../src/common/block-info.js'
import { markCorrupt } from '../../../../../src/drivers/qcow2/metadata/corruption.js'
import { setDirtyBit, writeHeader, writeHeaderFields } from '../../../../../src/drivers/qcow2/metadata/header-update.js'
import { checkImage } from '../../../../../src/global-state/check-image.js'
import { codeOf } from '../../../../support/code-of.js'
import { asciiOf, bytesOf, hexOf } from '../../../../support/hex.js'
import { closeSound, type OpenQcow2, openQcow2 } from '../../../../support/open-qcow2.js'
import type { ImageBytes } from '../../../../support/qcow2-bytes.js'
import { handMadeImage } from '../../../../support/qcow2-image.js'

const UNKNOWN_FIELDS = bytesOf('01 02 03 04 05 06 07 08')
const UNKNOWN_EXTENSION = bytesOf('12 34 56 78 00 00 00 05', '0a 0b 0c 0d 0e 00 00 00')

/** An image with a field, an extension and compatible features that nobody here knows, and a backing file. */
function strange(): ImageBytes {
  const image = handMadeImage()
  image.put32(100, 120)
  image.put64(80, 0x8000_0000_0000_0000n)
  image.bytes.set(UNKNOWN_FIELDS, 112)
  image.bytes.set(UNKNOWN_EXTENSION, 120)
  image.bytes.set(asciiOf('base.img'), 144)
  image.put64(8, 144)
  image.put32(16, 8)
  return image
}

const NO_BACKING = { options: { backing: null } }

describe('a header that is written anew', () => {
  test('keeps fields, extensions and compatible features that are unknown', async () => {
    const disk = await openQcow2(strange(), NO_BACKING)
    await writeHeader(disk.state, { size: 512 * 512 })
    const { bytes } = disk.image
    expect([disk.image.get64(24), disk.image.get32(100), disk.image.get64(80)]).toEqual([0x40000n, 120, 1n << 63n])
    expect(hexOf(bytes.subarray(112, 120))).toBe(hexOf(UNKNOWN_FIELDS))
    expect(hexOf(bytes.subarray(120, 136))).toBe(hexOf(UNKNOWN_EXTENSION))
    expect(hexOf(bytes.subarray(136, 144))).toBe('0000000000000000')
    expect(new TextDecoder().decode(bytes.subarray(144, 152))).toBe('base.img')
    await disk.close()
  })

  test('is durable when it is done', async () => {
    const disk = await openQcow2(strange(), NO_BACKING)
    await writeHeader(disk.state, { size: 512 * 512 })
    const changes = disk.requests.filter(({ op }) => op !== 'read').map(({ op }) => op)
    expect([changes.includes('write'), changes.at(-1)]).toEqual([true, 'flush'])
    await disk.close()
  })

  test('moves the name of the backing file where an extension is added, and clears what stood there', async () => {
    const disk = await openQcow2(strange(), NO_BACKING)
    await writeHeader(disk.state, {}, { extensions: { backingFormat: 'raw' } })
    const at = Number(disk.image.get64(8))
    expect(at).toBe(160)
    expect(new TextDecoder().decode(disk.image.bytes.subarray(at, at + 8))).toBe('base.img')
    await writeHeader(disk.state, {}, { backingName: null, extensions: { backingFormat: undefined } })
    expect([disk.image.get64(8), disk.image.get32(16)]).toEqual([0n, 0])
    expect(disk.image.bytes.subarray(144, 512).every((byte) => byte === 0)).toBe(true)
    await closeSound(disk)
  })

  test('that does not fit its cluster is ENOSPC, and nothing is written', async () => {
    const disk = await openQcow2(strange(), NO_BACKING)
    expect(await codeOf(() => writeHeader(disk.state, {}, { backingName: 'x'.repeat(400) }))).toBe('ENOSPC')
    expect([disk.requests.length, disk.state.backingName]).toEqual([0, 'base.img'])
    await disk.close()
  })

  test('that cannot be written has not changed in memory either', async () => {
    const disk = await openQcow2(strange(), NO_BACKING)
    const fault = disk.faults.add({ on: 'write', fail: 'EIO' })
    expect(await codeOf(() => writeHeader(disk.state, { size: 512 }, { backingName: 'other' }))).toBe('EIO')
    expect([fault.hits, disk.state.header.size, disk.state.backingName]).toEqual([1, 1024 * 512, 'base.img'])
    await disk.close()
  })
})

describe('fields that are written alone', () => {
  test.each([
    ['size', { size: 512 }, 24, 8],
    ['l1', { l1Size: 16 }, 36, 12],
    ['refcountTable', { refcountTableClusters: 1 }, 48, 12],
    ['snapshots', { nbSnapshots: 0 }, 60, 12],
    ['features', { compatibleFeatures: 1n }, 72, 24],
  ] as const)('%s are one write inside a sector', async (group, fields, offset, bytes) => {
    const disk = await openQcow2(handMadeImage())
    await writeHeaderFields(disk.state, group, fields)
    expect(disk.requests.map((request) => [request.op, request.offset, request.bytes])).toEqual([
      ['write', offset, bytes],
      ['flush', 0, 0],
    ])
    await disk.close()
  })
})

const DIRTY = 1n
const CORRUPT = 2n

/** An image that is being written to, and in which everything from offset 0 to 512 waits that is written there. */
async function heldHeader() {
  const disk = await openQcow2(handMadeImage({ clusterBits: 12 }))
  await disk.write(0, 1, 9)
  await disk.flush()
  const held = disk.faults.add({ on: 'write', range: { offset: 0, bytes: 512 }, stick: true })
  return { disk, held }
}

/** Bits as the disk has them, and as memory has them. */
function featuresOf(disk: OpenQcow2): [bigint, bigint] {
  return [disk.image.get64(72), disk.state.header.incompatibleFeatures]
}

describe('a change of the header that is under way when damage is found', () => {
  test.each([
    ['all of it', (disk: OpenQcow2) => writeHeader(disk.state, { size: 4096 }, { backingName: 'base.img' })],
    ['fields alone', (disk: OpenQcow2) => writeHeaderFields(disk.state, 'size', { size: 4096 })],
  ])('happens, and the corrupt bit stays: %s', async (_name, change) => {
    const { disk, held } = await heldHeader()
    const changed = change(disk)
    await held.stuckOnce
    markCorrupt(disk.state, 'found meanwhile')
    held.release()
    await changed
    await disk.state.corruptBitWrite
    expect(disk.image.get64(24)).toBe(4096n)
    expect(featuresOf(disk)).toEqual([CORRUPT, CORRUPT])
    await disk.close()
  })

  test('stays as well where the bits stand side by side', async () => {
    const { disk, held } = await heldHeader()
    const changed = setDirtyBit(disk.state)
    await held.stuckOnce
    markCorrupt(disk.state, 'found meanwhile')
    held.release()
    await changed
    await disk.state.corruptBitWrite
    expect(featuresOf(disk)).toEqual([DIRTY | CORRUPT, DIRTY | CORRUPT])
    await disk.close()
  })

  test('is taken back where it fails, before the corrupt bit is set', async () => {
    const { disk, held } = await heldHeader()
    disk.faults.add({ on: 'flush', fail: 'EIO' })
    const changed = codeOf(() => writeHeaderFields(disk.state, 'size', { size: 4096 }))
    await held.stuckOnce
    markCorrupt(disk.state, 'found meanwhile')
    held.release()
    expect(await changed).toBe('EIO')
    await disk.state.corruptBitWrite
    expect(disk.image.get64(24)).toBe(BigInt(disk.state.header.size))
    expect(featuresOf(disk)).toEqual([CORRUPT, CORRUPT])
    await disk.close()
  })
})

describe('while the corrupt bit is written', () => {
  test.each([
    ['all of the header', (disk: OpenQcow2) => writeHeader(disk.state, { size: 4096 })],
    ['fields alone', (disk: OpenQcow2) => setDirtyBit(disk.state)],
  ])('%s cannot change any more', async (_name, change) => {
    const { disk, held } = await heldHeader()
    const { size } = disk.state.header
    markCorrupt(disk.state, 'found before')
    await held.stuckOnce
    const code = codeOf(() => change(disk))
    held.release()
    expect(await code).toBe('EIO')
    await disk.state.corruptBitWrite
    expect(disk.image.get64(24)).toBe(BigInt(size))
    expect(featuresOf(disk)).toEqual([CORRUPT, CORRUPT])
    await disk.close()
  })

  test('a repair waits for it, and takes it away', async () => {
    const { disk, held } = await heldHeader()
    markCorrupt(disk.state, 'found before')
    await held.stuckOnce
    const { graph, node } = disk.rig
    const repaired = graph.mainLoop((main) => checkImage(main, node, BDRV_FIX_ERRORS, () => {}))
    for (let turn = 0; turn < 50; turn++) await new Promise((resolve) => setImmediate(resolve))
    held.release()
    await repaired
    expect(featuresOf(disk)).toEqual([0n, 0n])
    await closeSound(disk)
  })
})
