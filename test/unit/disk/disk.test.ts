import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { BDRV_REQ_FUA, BDRV_REQ_MAY_UNMAP } from '../../../src/common/request.js'
import type { Disk, Extent } from '../../../src/disk/disk.js'
import { openDiskWith } from '../../../src/disk/open-disk.js'
import { builtinDrivers } from '../../../src/drivers/index.js'
import { Recording, recordingDriver } from '../../../src/testing/storage/recording.js'
import { settleMicrotasks } from '../../../src/testing/virtual-clock.js'
import { controlledDisk, counting, memoryDisk, refusal } from '../../support/disks.js'

const KIB = 1024

async function extents(disk: Disk, ...range: Parameters<Disk['blockStatus']>): Promise<Extent[]> {
  const found: Extent[] = []
  for await (const extent of disk.blockStatus(...range)) found.push(extent)
  return found
}

describe('a disk in memory', () => {
  let disk: Disk
  beforeEach(async () => {
    disk = await memoryDisk(1024 * KIB)
  })
  afterEach(() => disk.close())

  it('reads what was written, at any alignment, into a new buffer or a given one', async () => {
    const data = counting(5000)
    await disk.write(777, data)
    expect(await disk.read(777, 5000)).toEqual(data)
    const given = new Uint8Array(10)
    expect(await disk.read(775, given)).toBe(given)
    expect([...given]).toEqual([0, 0, 1, 2, 3, 4, 5, 6, 7, 8])
  })

  it('refuses what is no bytes, as code without types may hand in', async () => {
    for (const wrong of [null, 'text', [1, 2], new Uint16Array(4), new DataView(new ArrayBuffer(4))]) {
      expect(await refusal(disk.read(0, wrong as unknown as Uint8Array))).toMatchObject({ code: 'EINVAL' })
      expect(await refusal(disk.write(0, wrong as unknown as Uint8Array))).toMatchObject({ code: 'EINVAL' })
    }
  })

  it('refuses ranges that are none', async () => {
    expect(await refusal(disk.read(disk.size - 1, 2))).toMatchObject({ code: 'EIO' })
    expect(await refusal(disk.read(-1, 1))).toMatchObject({ code: 'EINVAL' })
    expect(await refusal(disk.read(0, -1))).toMatchObject({ code: 'EINVAL' })
    expect(await refusal(disk.read(0, 2 ** 40))).toMatchObject({ code: 'EINVAL' })
    expect(await refusal(disk.write(disk.size, counting(1)))).toMatchObject({ code: 'EIO' })
    expect(await refusal(disk.write(0.5, counting(1)))).toMatchObject({ code: 'EINVAL' })
  })

  it('zeroes a range and leaves its neighbours', async () => {
    await disk.write(0, counting(4 * KIB))
    await disk.writeZeroes(1000, 2000, { mayUnmap: true })
    const expected = counting(4 * KIB).fill(0, 1000, 3000)
    expect(await disk.read(0, 4 * KIB)).toEqual(expected)
  })

  it('discards whole blocks and keeps what lies beside them', async () => {
    await disk.write(0, counting(256 * KIB))
    await disk.discard(64 * KIB, 128 * KIB)
    expect(await disk.read(0, 64 * KIB)).toEqual(counting(64 * KIB))
    expect(await disk.read(192 * KIB, 64 * KIB)).toEqual(counting(256 * KIB).subarray(192 * KIB))
    const freed = (await extents(disk)).find((extent) => extent.offset <= 64 * KIB && extent.zero)
    expect(freed).toMatchObject({ bytes: expect.any(Number), data: false })
  })

  it('grows with zeroes and shrinks for good', async () => {
    await disk.write(disk.size - 512, counting(512))
    await disk.resize(disk.size - 256)
    expect(disk.size).toBe(1024 * KIB - 256)
    expect(await refusal(disk.read(disk.size - 1, 2))).toMatchObject({ code: 'EIO' })
    await disk.resize(2048 * KIB)
    const tail = await disk.read(1024 * KIB - 512, 1024)
    expect(tail.subarray(0, 256)).toEqual(counting(256))
    expect(tail.subarray(256).every((byte) => byte === 0)).toBe(true)
    expect(await refusal(disk.resize(-1))).toMatchObject({ code: 'EINVAL' })
    expect(await refusal(disk.resize(2 ** 53 - 1))).toMatchObject({ code: 'EFBIG' })
  })
})

describe('block status', () => {
  let disk: Disk
  beforeEach(async () => {
    disk = await memoryDisk(1024 * KIB)
    await disk.write(0, counting(128 * KIB))
    await disk.write(512 * KIB, counting(64 * KIB))
  })
  afterEach(() => disk.close())

  it('covers the disk in order, without gaps, and says what is data', async () => {
    const found = await extents(disk)
    let at = 0
    for (const { offset, bytes } of found) {
      expect(offset).toBe(at)
      expect(bytes).toBeGreaterThan(0)
      at += bytes
    }
    expect(at).toBe(disk.size)
    const isData = (offset: number) => found.find((e) => e.offset <= offset && offset < e.offset + e.bytes)?.data
    expect([0, 100 * KIB, 300 * KIB, 520 * KIB, 1000 * KIB].map(isData)).toEqual([true, true, false, true, false])
  })

  it('of a range ends with the range', async () => {
    const found = await extents(disk, 1000, 200 * KIB)
    expect(found[0]?.offset).toBe(1000)
    expect(found.reduce((sum, { bytes }) => sum + bytes, 0)).toBe(200 * KIB)
    expect(await extents(disk, disk.size)).toEqual([])
  })

  it('refuses a range that is not inside the disk', async () => {
    const bad: [number, number?][] = [[0, disk.size + 1], [-1], [disk.size + 1], [Number.NaN], [0, -1], [0, 1.5]]
    for (const [offset, bytes] of bad) {
      expect(await refusal(disk.blockStatus(offset, bytes).next())).toMatchObject({ code: 'EINVAL' })
    }
  })

  it('may be left early', async () => {
    for await (const extent of disk.blockStatus()) {
      expect(extent.offset).toBe(0)
      break
    }
    await disk.close()
  })

  it('ends where the disk became shorter meanwhile', async () => {
    const iterator = disk.blockStatus()
    const first = await iterator.next()
    expect(first.value).toMatchObject({ offset: 0, data: true })
    await disk.resize(64 * KIB)
    expect(await iterator.next()).toEqual({ done: true, value: undefined })
  })
})

describe('durability', () => {
  it('is asked for as said: FUA with the write, a flush where one is due', async () => {
    const recording = new Recording()
    const file = { driver: 'memory', size: 65536 }
    const disk = await openDiskWith([...builtinDrivers, recordingDriver(recording)], { driver: 'recording', file })
    await disk.write(0, counting(512), { fua: true })
    await disk.writeZeroes(512, 512, { mayUnmap: true })
    await disk.flush()
    await disk.close()
    const asked = recording.entries.map((entry) => [entry.kind, 'flags' in entry ? entry.flags : 0])
    expect(asked).toEqual([
      ['write', BDRV_REQ_FUA],
      ['zero', BDRV_REQ_MAY_UNMAP],
      ['flush', 0],
    ])
  })
})

describe('the end of a disk', () => {
  it('comes once, and takes everything with it', async () => {
    const disk = await memoryDisk(4096)
    expect(disk.graph.nodes.size).toBe(1)
    await Promise.allSettled([disk.close(), disk.close()])
    await disk.close()
    expect(disk.graph.nodes.size).toBe(0)
    expect(disk.graph.backends.size).toBe(0)
    expect(() => disk.size).toThrow(expect.objectContaining({ code: 'ENOMEDIUM' }))
    expect(() => disk.node).toThrow(expect.objectContaining({ code: 'ENOMEDIUM' }))
    expect(await refusal(disk.read(0, 1))).toMatchObject({ code: 'ECANCELED' })
    expect(await refusal(disk.blockStatus().next())).toMatchObject({ code: 'ENOMEDIUM' })
  })

  it('comes by itself with `await using`', async () => {
    let graph: Disk['graph'] | undefined
    {
      await using disk = await memoryDisk(4096)
      graph = disk.graph
      await disk.write(0, counting(10))
    }
    expect(graph.nodes.size).toBe(0)
  })

  it('waits for requests in flight', async () => {
    const { disk, controller } = await controlledDisk(4096)
    const done: string[] = []
    const writing = disk.write(0, counting(512)).then(() => done.push('write'))
    await controller.waitFor(1)
    const closing = disk.close().then(() => done.push('close'))
    await settleMicrotasks()
    expect(done).toEqual([])
    controller.open = true
    controller.releaseAll()
    await Promise.all([writing, closing])
    expect(done).toEqual(['write', 'close'])
  })

  it('reports an error of the last flush, everything closed', async () => {
    const { disk, controller } = await controlledDisk(4096)
    controller.open = true
    await disk.write(0, counting(512))
    controller.open = false
    const closing = refusal(disk.close())
    await controller.waitFor(1)
    expect(controller.pending[0]?.kind).toBe('flush')
    controller.pending[0]?.fail('EIO')
    expect(await closing).toMatchObject({ code: 'EIO' })
    expect(disk.graph.nodes.size).toBe(0)
    expect(await refusal(disk.close())).toMatchObject({ code: 'EIO' })
  })
})
