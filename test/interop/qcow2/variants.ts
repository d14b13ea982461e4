// Random kinds of image: options that both tools take, and what follows from them.

import type { RandomBelow } from '../../../src/testing/crash/seeded-random.js'
import type { Geometry } from './operations.js'

/** A kind of image. */
export interface Variant {
  /** For `-o`. */
  options: string[]
  /** Bytes of a backing file; undefined for none. */
  backing: number | undefined
  geometry: Geometry
  /** The two tools leave the same bytes: nothing of it depends on a compressor. */
  sameBytes: boolean
  dataFile: boolean
}

/** A kind of image that makes sense. */
export function randomVariant(random: RandomBelow): Variant {
  const chance = (part: number) => random(part) === 0
  const old = chance(6)
  const extended = !old && chance(4)
  const clusterBits = extended ? 14 + random(3) : 9 + random(9)
  const clusterSize = 2 ** clusterBits
  const size = 512 * (1 + random(Math.min(4096, (clusterSize * 200) / 512)))
  const dataFile = !old && chance(8)
  const rawData = dataFile && chance(2)
  const backing = dataFile || chance(3) ? undefined : 512 * (1 + random(4096))
  const options = [`cluster_size=${clusterSize}`, `compat=${old ? '0.10' : '1.1'}`]
  if (!old) options.push(`refcount_bits=${2 ** random(7)}`)
  if (!old && chance(4)) options.push('lazy_refcounts=on')
  if (extended) options.push('extended_l2=on')
  const preallocated = backing === undefined && chance(6)
  if (preallocated) options.push('preallocation=metadata')
  const zstd = !old && !dataFile && chance(4)
  if (zstd) options.push('compression_type=zstd')
  const compresses = !dataFile && !preallocated && chance(3)
  return {
    options,
    backing,
    geometry: { size, clusterSize, discardsToZero: !old || backing === undefined, compresses },
    sameBytes: !compresses,
    dataFile,
    ...(dataFile ? { options: [...options, 'data_file=DATA', `data_file_raw=${rawData ? 'on' : 'off'}`] } : {}),
  }
}
