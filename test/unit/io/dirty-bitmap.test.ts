import { describe, expect, it } from 'vitest'
import { HBitmap } from '../../../src/common/hbitmap.js'
import {
  dirtyAreas,
  dirtyBitmapInfo,
  dirtyBytes,
  isDirty,
  markDirty,
  newBitmap,
  resetDirtyRange,
  setDirtyRange,
  truncateBitmaps,
} from '../../../src/io/dirty-bitmap.js'

const bitmap = (enabled = true) => newBitmap(new HBitmap(8192, 512), enabled)

describe('markDirty', () => {
  it('records only while the bitmap is enabled', () => {
    const recording = bitmap()
    const idle = bitmap(false)
    for (const each of [recording, idle]) markDirty(each, 600, 1)
    expect([dirtyBytes(recording), dirtyBytes(idle)]).toEqual([512, 0])
    expect([isDirty(recording, 1023), isDirty(recording, 1024)]).toEqual([true, false])
  })

  it('records in the successor while there is one, by its own flag', () => {
    const frozen = { ...bitmap(false), successor: bitmap(true) }
    markDirty(frozen, 0, 1)
    expect([dirtyBytes(frozen), dirtyBytes(frozen.successor)]).toEqual([0, 512])
    const silent = { ...bitmap(true), successor: bitmap(false) }
    markDirty(silent, 0, 1)
    expect([dirtyBytes(silent), dirtyBytes(silent.successor)]).toEqual([0, 0])
  })
})

describe('dirty ranges', () => {
  it('are set and reset whether the bitmap records or not', () => {
    const idle = bitmap(false)
    setDirtyRange(idle, 0, 4096)
    resetDirtyRange(idle, 1024, 512)
    expect([...dirtyAreas(idle)]).toEqual([
      { offset: 0, bytes: 1024 },
      { offset: 1536, bytes: 2560 },
    ])
    expect([...dirtyAreas(idle, 512, 2048)]).toEqual([
      { offset: 512, bytes: 512 },
      { offset: 1536, bytes: 512 },
    ])
  })

  it('of a read-only bitmap stay', () => {
    const fixed = { ...bitmap(), readonly: true, name: 'b' }
    expect(() => setDirtyRange(fixed, 0, 1)).toThrow(expect.objectContaining({ code: 'EPERM' }))
    expect(() => resetDirtyRange(fixed, 0, 1)).toThrow(/'b' is read-only/)
  })

  it('are cut with the node, in successors too', () => {
    const frozen = { ...bitmap(), successor: bitmap() }
    setDirtyRange(frozen, 4096, 4096)
    setDirtyRange(frozen.successor, 0, 8192)
    truncateBitmaps([frozen], 6144)
    expect([dirtyBytes(frozen), dirtyBytes(frozen.successor)]).toEqual([2048, 6144])
    truncateBitmaps([frozen], 8192)
    expect([dirtyBytes(frozen), dirtyBytes(frozen.successor)]).toEqual([2048, 6144])
  })
})

describe('dirtyBitmapInfo', () => {
  it('says that a frozen bitmap records while its successor does', () => {
    const info = dirtyBitmapInfo({ ...bitmap(false), name: 'b', busy: true, successor: bitmap(true) })
    expect(info).toEqual({
      name: 'b',
      granularity: 512,
      count: 0,
      recording: true,
      busy: true,
      readonly: false,
      persistent: false,
      inconsistent: false,
    })
  })
})
