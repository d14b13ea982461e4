// qcow2 as the crash harness tests it: tiny clusters, images made byte by byte, and a second opinion beside the driver's check.

import { qcow2Driver } from '../../src/drivers/qcow2/index.js'
import { nodeServices } from '../../src/platform/services.js'
import type { CrashOperation, CrashTarget } from '../../src/testing/crash/crash-target.js'
import { contentOf, storageDriver, storageOf } from '../../src/testing/storage/memory-storage.js'
import { emptyImage, type HandMadeOptions } from './qcow2-image.js'
import { inspectQcow2 } from './qcow2-inspector.js'

/** What a target is made with: how the image is made (32 KiB by default), and the options it is opened with. */
export interface Qcow2TargetOptions extends Omit<HandMadeOptions, 'data'> {
  open?: Record<string, unknown>
  /** Bytes of a backing file. */
  backing?: Uint8Array
  /** Compressed writes are part of the workloads. Default: where the image can have them. */
  compressed?: boolean
  snapshots?: boolean
  bitmaps?: boolean
  /** So are changes of length. */
  resize?: boolean
  /** So are these. */
  operations?: readonly CrashOperation[]
  /** Names of a backing file of which the header has one, or none. Default: none. */
  backingNames?: readonly string[]
}

/** A target called `qcow2`. */
export function qcow2Target(options: Qcow2TargetOptions = {}): CrashTarget {
  const { size = 32_768, open = {}, compressed = true, clusterBits = 9, leakedClusters = 0 } = options
  const backing = options.backing === undefined ? undefined : storageDriver(storageOf(options.backing), 'base')
  const fresh = emptyImage(size, options)
  return {
    name: 'qcow2',
    drivers: backing === undefined ? [qcow2Driver] : [qcow2Driver, backing],
    graph: { services: nodeServices },
    bytes: size,
    clusterBytes: 2 ** clusterBits,
    compressed: compressed && options.dataFile === undefined,
    resize: options.resize === true,
    snapshots: options.snapshots === true,
    bitmaps: options.bitmaps === true,
    operations: options.operations ?? [],
    ...(options.dataFile !== undefined ? { storages: ['disk', 'data'] } : {}),
    async create(stores) {
      const store = stores.get('disk')
      store?.resize(fresh.byteLength)
      store?.write(0, fresh)
      stores.get('data')?.resize(size)
    },
    options: ({ disk, data }) => ({
      driver: 'qcow2',
      file: disk,
      ...(data === undefined ? {} : { 'data-file': data }),
      ...(backing === undefined ? {} : { backing: { driver: 'base', 'read-only': true } }),
      ...open,
    }),
    // In version 2, copied flags beside a count that is too high; where it is the flag that is wrong, the inspector says so.
    harmless: (line) => options.version === 2 && line.includes('OFLAG_COPIED'),
    leaks: leakedClusters,
    refuses: ({ type }, code) =>
      // A compressed write replaces nothing; narrow counts hold few snapshots.
      (type === 'compressed' && code === 'EIO') ||
      // What tools ask for may contradict the image as it is.
      ((type.startsWith('snapshot') || type === 'operation') && code === 'EINVAL'),
    inspect(stores, noLeaks) {
      const store = stores.get('disk')
      if (store === undefined) return 'no store'
      const bytes = contentOf(store)
      const { problems, leaks } = inspectQcow2(bytes, noLeaks)
      if (problems.length > 0) return problems.slice(0, 3).join('; ')
      const name = backingNameOf(bytes)
      if (name !== '' && !(options.backingNames ?? []).includes(name)) return `the backing file is called '${name}'`
      if (keepsForeignBits(bytes) && isChanged(bytes, fresh, 2 ** clusterBits)) return 'unknown autoclear bits are left'
      return noLeaks && leaks > leakedClusters ? `${leaks - leakedClusters} leaks` : undefined
    },
  }
}

/** The name in the header; empty for none. */
function backingNameOf(image: Uint8Array): string {
  const view = new DataView(image.buffer)
  const at = Number(view.getBigUint64(8))
  return new TextDecoder().decode(image.subarray(at, at + view.getUint32(16)))
}

/** Whether the image has autoclear bits that nobody here knows. */
function keepsForeignBits(image: Uint8Array): boolean {
  const view = new DataView(image.buffer)
  return view.getUint32(4) >= 3 && view.getBigUint64(88) >= 4n
}

/** Whether more than the header has changed since the image was made. */
function isChanged(image: Uint8Array, fresh: Uint8Array, clusterSize: number): boolean {
  if (image.byteLength !== fresh.byteLength) return true
  return Buffer.compare(image.subarray(clusterSize), fresh.subarray(clusterSize)) !== 0
}

/** A backing file that differs in every sector, and from all that workloads write. */
export function patternedBacking(bytes: number): Uint8Array {
  return Uint8Array.from({ length: bytes }, (_, at) => 0x80 | ((at >>> 9) & 0x7f))
}
