// Random work on an image, as data: once as a command of qemu-io, once as a request of ours, and what a guest then sees.

import { BDRV_REQ_MAY_UNMAP, BDRV_REQ_WRITE_COMPRESSED } from '../../../src/common/request.js'
import type { BlockBackend } from '../../../src/global-state/backend.js'
import type { RandomBelow } from '../../../src/testing/crash/seeded-random.js'

/** One request. `bytes` and `offset` are multiples of 512. */
export interface Operation {
  kind: 'write' | 'zero' | 'unmap' | 'discard' | 'compressed' | 'flush'
  offset: number
  bytes: number
  /** The byte that is written. */
  fill: number
}

/** What decides which operations make sense, and what they do to the content. */
export interface Geometry {
  size: number
  clusterSize: number
  /** Discards leave what they cannot turn into zeroes. */
  discardsToZero: boolean
  compresses: boolean
}

const MOST_BYTES = 300 * 1024

/** `count` operations on a disk. Compressed writes go to clusters that nothing was written to before. */
export function randomOperations(geometry: Geometry, count: number, random: RandomBelow): Operation[] {
  const untouched = new Set(Array.from({ length: Math.floor(geometry.size / geometry.clusterSize) }, (_, i) => i))
  return Array.from({ length: count }, () => oneOperation(geometry, untouched, random))
}

function oneOperation(geometry: Geometry, untouched: Set<number>, random: RandomBelow): Operation {
  const { size, clusterSize } = geometry
  const fill = 1 + random(255)
  const [free] = untouched
  if (geometry.compresses && free !== undefined && random(4) === 0) {
    const picked = [...untouched][random(untouched.size)] ?? free
    untouched.delete(picked)
    return { kind: 'compressed', offset: picked * clusterSize, bytes: clusterSize, fill }
  }
  const kinds = ['write', 'write', 'write', 'write', 'zero', 'unmap', 'discard', 'flush'] as const
  const kind = kinds[random(kinds.length)] ?? 'write'
  const unit = random(3) === 0 ? Math.min(clusterSize, size) : 512
  const offset = random(size / unit) * unit
  const most = Math.min(size - offset, MOST_BYTES, Math.max(unit, clusterSize * 9))
  const bytes = Math.max(512, (1 + random(Math.ceil(most / unit))) * unit)
  const last = Math.floor((offset + Math.min(bytes, size - offset) - 1) / clusterSize)
  for (let cluster = Math.floor(offset / clusterSize); cluster <= last; cluster++) untouched.delete(cluster)
  return { kind, offset, bytes: Math.min(bytes, size - offset), fill }
}

/** The command of qemu-io. */
export function commandOf({ kind, offset, bytes, fill }: Operation): string {
  switch (kind) {
    case 'write':
      return `write -q -P ${fill} ${offset} ${bytes}`
    case 'compressed':
      return `write -q -c -P ${fill} ${offset} ${bytes}`
    case 'zero':
      return `write -q -z ${offset} ${bytes}`
    case 'unmap':
      return `write -q -z -u ${offset} ${bytes}`
    case 'discard':
      return `discard -q ${offset} ${bytes}`
    case 'flush':
      return 'flush'
  }
}

/** The request of ours. */
export async function perform(backend: BlockBackend, operation: Operation): Promise<void> {
  const { kind, offset, bytes, fill } = operation
  switch (kind) {
    case 'write':
      return backend.write(offset, new Uint8Array(bytes).fill(fill))
    case 'compressed':
      return backend.write(offset, new Uint8Array(bytes).fill(fill), { flags: BDRV_REQ_WRITE_COMPRESSED })
    case 'zero':
      return backend.writeZeroes(offset, bytes)
    case 'unmap':
      return backend.writeZeroes(offset, bytes, { flags: BDRV_REQ_MAY_UNMAP })
    case 'discard':
      return backend.discard(offset, bytes)
    case 'flush':
      return backend.flush()
  }
}

/** What a guest sees afterwards. */
export function applyTo(content: Uint8Array, geometry: Geometry, operation: Operation): void {
  const { kind, offset, bytes, fill } = operation
  const end = offset + bytes
  if (kind === 'write' || kind === 'compressed') content.fill(fill, offset, end)
  else if (kind === 'zero' || kind === 'unmap') content.fill(0, offset, end)
  else if (kind === 'discard' && geometry.discardsToZero) {
    const { clusterSize, size } = geometry
    const from = Math.ceil(offset / clusterSize) * clusterSize
    const to = end === size ? size : Math.floor(end / clusterSize) * clusterSize
    if (from < to) content.fill(0, from, to)
  }
}
