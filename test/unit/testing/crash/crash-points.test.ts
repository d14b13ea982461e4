import { describe, expect, it } from 'vitest'
import { BDRV_REQ_FUA } from '../../../../src/common/request.js'
import type { CrashChoice } from '../../../../src/testing/crash/crash-choices.js'
import { crashPoints } from '../../../../src/testing/crash/crash-points.js'
import { crashState } from '../../../../src/testing/crash/crash-state.js'
import { SectorImage } from '../../../../src/testing/crash/sector-image.js'
import { type RecordEntry, Recording } from '../../../../src/testing/storage/recording.js'

const fill = (bytes: number, value: number) => new Uint8Array(bytes).fill(value)

class Disk {
  readonly recording = new Recording()
  readonly initial = new Map([
    ['a', new SectorImage(4096)],
    ['b', new SectorImage(0)],
  ])

  begin(node: string, offset: number, data: Uint8Array, flags = 0): RecordEntry {
    return this.recording.begin(node, { kind: 'write', offset, data, flags })
  }

  write(node: string, offset: number, data: Uint8Array, flags = 0): RecordEntry {
    const entry = this.begin(node, offset, data, flags)
    this.recording.end(entry, false)
    return entry
  }

  flush(node: string, failed = false): void {
    this.recording.end(this.recording.begin(node, { kind: 'flush' }), failed)
  }

  points() {
    return [...crashPoints(this.recording, this.initial)]
  }

  windows(): number[][] {
    return this.points().map(({ window }) => window.map(({ entry }) => entry.serial))
  }
}

const byteAt = (image: SectorImage | undefined, offset: number) => {
  const into = new Uint8Array(1)
  image?.read(offset, into)
  return into[0]
}

describe('crash points', () => {
  it('stand before every completed flush and at the end; what was complete before a flush is certain after it', () => {
    const disk = new Disk()
    const first = disk.write('a', 0, fill(512, 1))
    const second = disk.write('a', 512, fill(512, 2))
    disk.flush('a')
    const third = disk.write('a', 1024, fill(512, 3))
    expect(disk.windows()).toEqual([[first.serial, second.serial], [third.serial]])
    const [before, end] = disk.points()
    expect([byteAt(before?.base.get('a'), 0), byteAt(end?.base.get('a'), 512)]).toEqual([0, 2])
  })

  it('leave uncertain what was in flight when the flush began', () => {
    const disk = new Disk()
    const slow = disk.begin('a', 0, fill(512, 1))
    disk.flush('a')
    disk.recording.end(slow, false)
    expect(disk.windows()).toEqual([[slow.serial], [slow.serial]])
    disk.flush('a')
    expect(disk.windows().at(-1)).toEqual([])
  })

  it('make nothing certain by a flush that failed, or by a flush of another storage', () => {
    const disk = new Disk()
    const one = disk.write('a', 0, fill(512, 1))
    disk.flush('a', true)
    disk.flush('b')
    expect(disk.windows()).toEqual([[one.serial], [one.serial]])
  })

  it('keep a complete FUA write in every state, over what was written before it', () => {
    const disk = new Disk()
    disk.write('a', 0, fill(1024, 1))
    disk.write('a', 0, fill(512, 2), BDRV_REQ_FUA)
    const [end] = disk.points()
    if (end === undefined) throw new Error('no point')
    const bytes = (choice: CrashChoice) => {
      const image = crashState(end, choice).get('a')
      return [byteAt(image, 0), byteAt(image, 512)]
    }
    expect(bytes({ kept: [false, false], lengths: 'kept' })).toEqual([2, 0])
    expect(bytes({ kept: [true, false], lengths: 'kept' })).toEqual([2, 1])
  })

  it('drop what failed once a flush has passed', () => {
    const disk = new Disk()
    const failed = disk.begin('a', 0, fill(512, 1))
    disk.recording.end(failed, true)
    disk.flush('a')
    expect(disk.windows()).toEqual([[failed.serial], []])
    expect(byteAt(disk.points().at(-1)?.base.get('a'), 0)).toBe(0)
  })
})

describe('crash states', () => {
  const end = (disk: Disk) => {
    const point = disk.points().at(-1)
    if (point === undefined) throw new Error('no point')
    return point
  }

  it('hold the parts a choice names, torn at sectors of the disk', () => {
    const disk = new Disk()
    disk.write('a', 256, fill(1024, 1))
    const image = crashState(end(disk), { kept: [[0, 2]], lengths: 'kept' }).get('a')
    expect([256, 511, 512, 1023, 1024, 1279].map((offset) => byteAt(image, offset))).toEqual([1, 1, 0, 0, 1, 1])
  })

  it('apply a swapped change after its successor, unless that replaced it when it was done', () => {
    const swapped = (together: boolean) => {
      const disk = new Disk()
      const first = disk.begin('a', 0, fill(512, 1))
      if (!together) disk.recording.end(first, false)
      disk.write('a', 0, fill(512, 2))
      if (together) disk.recording.end(first, false)
      return [undefined, 0].map((index) => {
        const choice = {
          kept: [true, true],
          lengths: 'kept' as const,
          ...(index === undefined ? {} : { swapped: index }),
        }
        return byteAt(crashState(end(disk), choice).get('a'), 0)
      })
    }
    expect(swapped(true)).toEqual([2, 1])
    expect(swapped(false)).toEqual([2, 2])
  })

  it('have the length the changes lead to, or the last certain one', () => {
    const disk = new Disk()
    disk.write('b', 0, fill(512, 1))
    disk.flush('b')
    disk.write('b', 1024, fill(512, 2))
    const point = end(disk)
    const lengthOf = (kept: boolean, lengths: 'kept' | 'lost') =>
      crashState(point, { kept: [kept], lengths }).get('b')?.length
    expect([lengthOf(false, 'kept'), lengthOf(true, 'kept')]).toEqual([1536, 1536])
    expect([lengthOf(false, 'lost'), lengthOf(true, 'lost')]).toEqual([512, 512])
    expect(point.base.get('b')?.length).toBe(512)
  })

  it('bring back what was cut where the cut is lost', () => {
    const disk = new Disk()
    disk.write('a', 0, fill(4096, 1))
    disk.flush('a')
    disk.recording.end(disk.recording.begin('a', { kind: 'truncate', from: 4096, length: 512 }), false)
    const lost = crashState(end(disk), { kept: [false], lengths: 'lost' }).get('a')
    expect([lost?.length, byteAt(lost, 1024)]).toEqual([4096, 1])
    const kept = crashState(end(disk), { kept: [true], lengths: 'kept' }).get('a')
    expect([kept?.length, byteAt(kept, 0)]).toEqual([512, 1])
  })
})
