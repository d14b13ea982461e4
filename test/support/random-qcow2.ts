// Images as other programs leave them: made by qemu-img and qemu-io with random options and operations.

import { rmSync } from 'node:fs'
import { join } from 'node:path'
import type { RandomBelow } from '../../src/testing/crash/seeded-random.js'
import { peer } from './peers.js'

/** What an image was made of, for reports; and what matters to a test. */
export interface RandomImage {
  made: string[]
  clusterSize: number
  bitmaps: number
  snapshots: number
}

/** Makes the image `name` in `cwd` anew, with 1 to 3 rounds of writes, snapshots and bitmaps. */
export function makeRandomImage(cwd: string, name: string, random: RandomBelow): RandomImage {
  const pick = <T>(items: readonly T[]): T => items[random(items.length)] as T
  const chance = (percent: number) => random(100) < percent
  const clusterSize = pick([512, 512, 512, 1024, 4096, 16384, 65536])
  const version3 = chance(85)
  const options = [`cluster_size=${clusterSize}`, `compat=${version3 ? '1.1' : '0.10'}`]
  const refcountBits = version3 ? pick([1, 2, 4, 8, 16, 16, 32, 64]) : 16
  if (version3) {
    options.push(`refcount_bits=${refcountBits}`)
    if (clusterSize >= 16384 && chance(60)) options.push('extended_l2=on')
    if (chance(20)) options.push('lazy_refcounts=on')
    if (chance(10)) options.push(`data_file=${name}.data`, `data_file_raw=${pick(['on', 'off'])}`)
  }
  const size = clusterSize * pick([40, 100, 300, 1000]) + pick([0, 0, 512, 512_000])
  rmSync(join(cwd, name), { force: true })
  peer('qemu-img').check(['create', '-q', '-f', 'qcow2', '-o', options.join(','), name, String(size)], { cwd })
  const image: RandomImage = { made: [`${options.join(',')} ${size}`], clusterSize, bitmaps: 0, snapshots: 0 }
  const rounds = 1 + random(3)
  for (let round = 0; round < rounds; round++) {
    const commands = Array.from({ length: 1 + random(5) }, () => randomCommand(random, size, clusterSize))
    peer('qemu-io').run([...commands.flatMap((command) => ['-c', command]), name], { cwd })
    image.made.push(...commands)
    // A second reference does not fit one bit, nor a fourth two.
    if (refcountBits > 1 && chance(35)) {
      const { status } = peer('qemu-img').run(['snapshot', '-c', `snap${round}`, name], { cwd })
      if (status === 0) image.snapshots++
      image.made.push('snapshot')
    }
    if (version3 && chance(25)) {
      peer('qemu-img').check(['bitmap', '--add', name, `bitmap${round}`], { cwd })
      image.made.push('bitmap')
      image.bitmaps++
    }
  }
  return image
}

function randomCommand(random: RandomBelow, size: number, clusterSize: number): string {
  const offset = random(Math.floor(size / 512)) * 512
  const most = 1 + random((clusterSize / 512) * ([1, 2, 8, 30][random(4)] ?? 1))
  const bytes = Math.min(most * 512, Math.floor((size - offset) / 512) * 512)
  const cluster = Math.floor(offset / clusterSize) * clusterSize
  switch (random(6)) {
    case 0:
      return `write -z ${random(2) === 0 ? '-u ' : ''}${offset} ${bytes}`
    case 1:
      if (cluster + clusterSize > size) return `discard ${offset} ${bytes}`
      return `write -c -P ${random(256)} ${cluster} ${clusterSize}`
    case 2:
      return `discard ${offset} ${bytes}`
    default:
      return `write -P ${random(4) === 0 ? 170 : 0} ${offset} ${bytes}`
  }
}
