// Compressed clusters: how they are packed, what they may and may not replace, and what normal writes make of them.

import { describe, expect, test } from 'vitest'
import type { Compressor } from '../../../../../src/common/host-services.js'
import { BDRV_REQ_WRITE_COMPRESSED } from '../../../../../src/common/request.js'
import { nodeServices } from '../../../../../src/platform/services.js'
import { codeOf } from '../../../../support/code-of.js'
import { closeSound, filled, type OpenQcow2, openQcow2, runsOf } from '../../../../support/open-qcow2.js'
import { handMadeImage } from '../../../../support/qcow2-image.js'
import { drainMicrotasks } from '../../../../support/virtual-clock.js'

const CLUSTER = 4096
/** The first free cluster of an image with 8 data clusters. */
const FREE = 13

const image = (options = {}) => handMadeImage({ clusterBits: 12, ...options })

function compressed(disk: OpenQcow2, cluster: number, data: Uint8Array): Promise<void> {
  return disk.rig.backend.write(cluster * CLUSTER, data, { flags: BDRV_REQ_WRITE_COMPRESSED })
}

/** Says how many clusters have been compressed. */
class PackedCount implements Compressor {
  done = 0

  async compress(data: Uint8Array, most: number): Promise<Uint8Array | undefined> {
    const packed = await nodeServices.deflate?.compress(data, most)
    this.done++
    return packed
  }

  async decompress(data: Uint8Array, bytes: number): Promise<Uint8Array> {
    return (await nodeServices.deflate?.decompress(data, bytes)) ?? new Uint8Array(bytes)
  }
}

/** Bytes that do not get smaller. */
function noise(bytes: number): Uint8Array {
  let state = 1
  return Uint8Array.from({ length: bytes }, () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) | 0
    return state >>> 24
  })
}

describe('a compressed cluster', () => {
  test('has bit 62 and no bit 63, its place, and its sectors less one; the next one follows it in the same cluster', async () => {
    const disk = await openQcow2(image())
    await compressed(disk, 20, filled(CLUSTER, 0x11))
    await compressed(disk, 21, filled(CLUSTER, 0x22))
    await disk.flush()
    const first = disk.image.entry(20)
    const second = disk.image.entry(21)
    // x = 58 for clusters of 4 KiB; such data takes one sector.
    expect([first >> 58n, second >> 58n]).toEqual([0x10n, 0x10n])
    const places = [first, second].map((entry) => Number(entry & (2n ** 58n - 1n)))
    expect(places[0]).toBe(FREE * CLUSTER)
    expect(places[1]).toBeGreaterThan(FREE * CLUSTER)
    expect(places[1]).toBeLessThan(FREE * CLUSTER + 512)
    expect(disk.image.refcount(FREE)).toBe(2n)
    expect(runsOf(await disk.read(20 * CLUSTER, 2 * CLUSTER))).toEqual([
      [0x11, CLUSTER],
      [0x22, CLUSTER],
    ])
    await closeSound(disk)
  })

  test('that does not get smaller is written as it is', async () => {
    const disk = await openQcow2(image())
    await compressed(disk, 20, noise(CLUSTER))
    await disk.flush()
    expect(disk.image.entry(20)).toBe((1n << 63n) | BigInt(FREE * CLUSTER))
    expect(await disk.read(20 * CLUSTER, CLUSTER)).toEqual(noise(CLUSTER))
    await closeSound(disk)
  })

  test('is read with one request for its sectors, and once for many small reads', async () => {
    const disk = await openQcow2(image())
    await compressed(disk, 20, filled(CLUSTER, 0x11))
    await compressed(disk, 21, filled(CLUSTER, 0x22))
    await disk.write(30 * CLUSTER, CLUSTER, 1)
    await disk.flush()
    disk.requests.length = 0
    for (let at = 0; at < CLUSTER; at += 512) await disk.read(21 * CLUSTER + at, 512)
    const place = Number(disk.image.entry(21) & 0xffff_ffffn)
    const end = Math.ceil((place + 1) / 512) * 512
    expect(disk.taken('read')).toEqual([[place, end - place]])
    await disk.close()
  })

  test('over many clusters keeps their order', async () => {
    const disk = await openQcow2(image())
    const data = new Uint8Array(20 * CLUSTER)
    for (let index = 0; index < 20; index++) data.fill(index + 1, index * CLUSTER, (index + 1) * CLUSTER)
    await compressed(disk, 20, data)
    await disk.flush()
    const places = Array.from({ length: 20 }, (_, index) => disk.image.entry(20 + index) & (2n ** 58n - 1n))
    expect([...places].sort((a, b) => Number(a - b))).toEqual(places)
    expect(await disk.read(20 * CLUSTER, 20 * CLUSTER)).toEqual(data)
    await closeSound(disk)
  })

  test('may end with the disk inside a cluster; there it holds zeroes behind the end', async () => {
    const disk = await openQcow2(image({ size: 30 * CLUSTER + 1024 }))
    await compressed(disk, 30, filled(1024, 0x33))
    expect(runsOf(await disk.read(30 * CLUSTER, 1024))).toEqual([[0x33, 1024]])
    await closeSound(disk)
  })
})

describe('a compressed write is refused', () => {
  test.each([
    ['in the middle of a cluster', 20 * CLUSTER + 512, CLUSTER, 'EINVAL'],
    ['of half a cluster', 20 * CLUSTER, 2048, 'EINVAL'],
    ['where a cluster is', 3 * CLUSTER, CLUSTER, 'EIO'],
  ])('%s', async (_name, offset, bytes, code) => {
    const disk = await openQcow2(image())
    const flags = BDRV_REQ_WRITE_COMPRESSED
    expect(await codeOf(() => disk.rig.backend.write(offset, filled(bytes, 1), { flags }))).toBe(code)
    expect(await disk.read(3 * CLUSTER, CLUSTER)).toEqual(filled(CLUSTER, 4))
    await closeSound(disk)
  })

  test('where a compressed cluster is: it does not replace one either', async () => {
    const disk = await openQcow2(image())
    await compressed(disk, 20, filled(CLUSTER, 0x11))
    expect(await codeOf(() => compressed(disk, 20, filled(CLUSTER, 0x22)))).toBe('EIO')
    expect(await disk.read(20 * CLUSTER, CLUSTER)).toEqual(filled(CLUSTER, 0x11))
    await closeSound(disk)
  })

  test('with an external data file: ENOTSUP', async () => {
    const disk = await openQcow2(image({ dataFile: 'plain', data: 0 }), {
      options: { 'data-file': { driver: 'memory', size: 1024 * CLUSTER } },
    })
    expect(await codeOf(() => compressed(disk, 0, filled(CLUSTER, 1)))).toBe('ENOTSUP')
    await disk.close()
  })
})

describe('a compressed and a normal write of one cluster', () => {
  test('a normal one behind it takes what stands beside it from the stream, and drops its reference', async () => {
    const disk = await openQcow2(image())
    await compressed(disk, 20, filled(CLUSTER, 0x11))
    await compressed(disk, 21, filled(CLUSTER, 0x22))
    await disk.write(20 * CLUSTER + 1000, 96, 0x99)
    expect(runsOf(await disk.read(20 * CLUSTER, CLUSTER))).toEqual([
      [0x11, 1000],
      [0x99, 96],
      [0x11, 3000],
    ])
    await disk.flush()
    expect(disk.image.refcount(FREE)).toBe(1n)
    expect(await disk.read(21 * CLUSTER, CLUSTER)).toEqual(filled(CLUSTER, 0x22))
    await closeSound(disk)
  })

  test('while a normal one is on its way, the compressed one waits, and finds the cluster there', async () => {
    const packed = new PackedCount()
    const disk = await openQcow2(image(), { services: { ...nodeServices, deflate: packed } })
    await disk.write(30 * CLUSTER, CLUSTER, 1)
    const range = { offset: (FREE + 1) * CLUSTER, bytes: CLUSTER }
    const fault = disk.faults.add({ on: 'write', stick: true, range })
    const normal = disk.write(20 * CLUSTER, 100, 0x99)
    await fault.stuckOnce
    let code: string | undefined | null = null
    const late = codeOf(() => compressed(disk, 20, filled(CLUSTER, 0x11))).then((found) => {
      code = found
    })
    while (packed.done === 0) await drainMicrotasks()
    for (let turn = 0; turn < 5; turn++) await drainMicrotasks()
    expect([code, disk.taken('write')]).toEqual([null, [[FREE * CLUSTER, CLUSTER]]])
    fault.release()
    await normal
    await late
    expect(code).toBe('EIO')
    expect(runsOf(await disk.read(20 * CLUSTER, CLUSTER))).toEqual([
      [0x99, 100],
      [0, CLUSTER - 100],
    ])
    await closeSound(disk)
  })

  test('where the compressed one cannot be written, nothing is leaked', async () => {
    const disk = await openQcow2(image())
    await compressed(disk, 20, filled(CLUSTER, 0x11))
    const range = { offset: FREE * CLUSTER, bytes: CLUSTER }
    const fault = disk.faults.add({ on: 'write', fail: 'ENOSPC', range })
    expect(await codeOf(() => compressed(disk, 21, filled(CLUSTER, 0x22)))).toBe('ENOSPC')
    expect(fault.hits).toBe(1)
    expect(await disk.read(20 * CLUSTER, 2 * CLUSTER)).toEqual(
      Uint8Array.from({ length: 2 * CLUSTER }, (_, at) => (at < CLUSTER ? 0x11 : 0)),
    )
    await closeSound(disk)
  })
})
