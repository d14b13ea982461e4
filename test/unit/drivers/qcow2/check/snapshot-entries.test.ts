// Snapshot tables as a check meets them: incomplete, beyond the limits, naming nothing sane.

import { expect, test } from 'vitest'
import { BDRV_FIX_ERRORS, BDRV_FIX_LEAKS } from '../../../../../src/common/block-info.js'
import { codeOf } from '../../../../support/code-of.js'
import type { ImageBytes } from '../../../../support/qcow2-bytes.js'
import { runCheck } from '../../../../support/qcow2-check.js'
import { handMadeImage } from '../../../../support/qcow2-image.js'

const ALL = BDRV_FIX_LEAKS | BDRV_FIX_ERRORS

/** A snapshot with an empty L1 table, and `extra` bytes of extra data in its entry. Where its entry stands. */
function addSnapshot(image: ImageBytes, extra = 24): number {
  const l1 = image.addCluster()
  const table = image.addCluster()
  image.put64(table, l1)
  image.put32(table + 8, image.get32(36))
  image.put16(table + 12, 1)
  image.put16(table + 14, 4)
  image.put32(table + 36, extra)
  image.bytes.set(new TextEncoder().encode('1snap'), table + 40 + extra)
  image.put32(60, 1)
  image.put64(64, table)
  return table
}

test('a snapshot table of version 3 lacks sizes: a repair writes it anew', async () => {
  const image = handMadeImage()
  const table = addSnapshot(image, 8)
  const { result, lines } = await runCheck(image)
  expect(lines).toEqual(['ERROR snapshot table entry 0 is incomplete'])
  expect(result.corruptions).toBe(1)
  const repaired = await runCheck(image, ALL)
  expect(repaired.result).toMatchObject({ corruptionsFixed: 1, corruptions: 0, leaks: 0 })
  const { after } = repaired
  expect(Number(after.get64(64))).not.toBe(table)
  expect(after.refcount(table / 512)).toBe(0n)
  expect(after.get64(Number(after.get64(64)) + 48)).toBe(image.get64(24))
  expect((await runCheck(after)).lines).toEqual([])
})

test('a snapshot that names nothing sane is told of and kept', async () => {
  const image = handMadeImage()
  const table = addSnapshot(image)
  expect((await runCheck(image)).lines).toEqual([])
  image.put64(table, image.get64(table) + 8n)
  const { result, lines } = await runCheck(image)
  expect(lines).toEqual([
    'ERROR snapshot 1 (snap) l1_offset=0x1a08: L1 table is not cluster aligned; snapshot table entry corrupted',
    'Leaked cluster 13 refcount=1 reference=0',
  ])
  expect(result).toMatchObject({ corruptions: 1, leaks: 1 })
  image.put64(table, image.get64(table) - 8n)
  image.put32(table + 8, 0x400001)
  expect((await runCheck(image)).lines[0]).toBe(
    'ERROR snapshot 1 (snap) l1_size=0x400001: L1 table is too large; snapshot table entry corrupted',
  )
})

test('a snapshot table beyond the limits ends a check, and is cut by a repair', async () => {
  const image = handMadeImage()
  const table = addSnapshot(image)
  image.put32(table + 36, 5000)
  expect(await codeOf(() => runCheck(image))).toBe('EFBIG')
  const { lines, after } = await runCheck(image, ALL)
  expect(lines).toContain('Discarding too much extra metadata in snapshot table entry 0 (5000 > 1024)')
  expect((await runCheck(after)).lines).toEqual([])
  const crowded = handMadeImage()
  crowded.put32(60, 65537)
  crowded.put64(64, 0x100000)
  expect(await codeOf(() => runCheck(crowded))).toBe('EFBIG')
  const unaligned = handMadeImage()
  unaligned.put64(64, 1)
  expect(await codeOf(() => runCheck(unaligned, ALL))).toBe('EINVAL')
})
