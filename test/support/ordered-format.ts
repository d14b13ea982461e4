// A small image format for tests of the crash harness: a header, one byte of refcount per cluster, a map of guest clusters, and
// rules of order between them that can be switched off one by one. It keeps nothing in memory that is not on disk as well.
//
// Cluster 0: magic, guest length, offset and entries of the map (one sector write). Cluster 1: refcounts. Then map and data.

import { Mutex } from 'async-mutex'
import type { BdrvCheckResult } from '../../src/common/block-info.js'
import { BDRV_CHILD_IMAGE } from '../../src/common/child-role.js'
import { BlockError } from '../../src/common/error.js'
import { type Bytes, flattenBytes, sliceBytes, zeroBytes } from '../../src/common/io-vector.js'
import { BDRV_REQ_ZERO_WRITE } from '../../src/common/request.js'
import type { BlockDriver } from '../../src/global-state/driver.js'
import { defineDriver } from '../../src/global-state/driver.js'
import type { BlockChild } from '../../src/io/block-node.js'
import { discard } from '../../src/io/discard.js'
import { flush } from '../../src/io/flush.js'
import type { NodeIo } from '../../src/io/node-io.js'
import { read } from '../../src/io/read.js'
import { write } from '../../src/io/write.js'
import type { CrashTarget } from '../../src/testing/crash/crash-target.js'
import type { ChunkStore } from '../../src/testing/storage/memory-storage.js'

const CLUSTER = 1024
const MAGIC = 0x4f524446
const REFCOUNTS = CLUSTER
const MAX_CLUSTERS = CLUSTER
const ENTRIES_PER_CLUSTER = CLUSTER / 4

/** What must be on disk before what. */
export interface OrderRules {
  /** Raised refcount before the entry that uses the cluster. */
  refcountBeforeEntry: boolean
  /** Data, with what was copied around it, before the entry that names it. */
  dataBeforeEntry: boolean
  /** Cleared entry before the lowered refcount. */
  clearedBeforeFree: boolean
  /** New map before the header that names it, and that before the old map is freed. */
  mapBeforeHeader: boolean
  /** After an error no flush succeeds, since nobody knows what is on disk. */
  errorPoisons: boolean
}

export const ALL_RULES: OrderRules = {
  refcountBeforeEntry: true,
  dataBeforeEntry: true,
  clearedBeforeFree: true,
  mapBeforeHeader: true,
  errorPoisons: true,
}

/** The format as the harness tests it, with the rules given. */
export function orderedTarget(bytes: number, rules: Partial<OrderRules> = {}): CrashTarget {
  return {
    name: 'ordered',
    drivers: [orderedDriver({ ...ALL_RULES, ...rules })],
    bytes,
    clusterBytes: CLUSTER,
    resize: true,
    async create(stores) {
      for (const store of stores.values()) formatOrdered(store, bytes)
    },
    options: ({ disk }) => ({ driver: 'ordered', file: disk }),
  }
}

/** Writes an empty image. */
export function formatOrdered(store: ChunkStore, bytes: number): void {
  const entries = Math.ceil(bytes / CLUSTER)
  const mapClusters = clustersFor(entries)
  store.resize((2 + mapClusters) * CLUSTER)
  store.write(0, encodeHeader({ length: bytes, mapOffset: 2 * CLUSTER, entries }))
  store.write(REFCOUNTS, new Uint8Array(2 + mapClusters).fill(1))
}

function orderedDriver(rules: OrderRules): BlockDriver {
  return defineDriver({
    name: 'ordered',
    kind: 'format',
    options: {},
    childNames: ['file'],
    async open(context) {
      const file = await context.child('file', BDRV_CHILD_IMAGE)
      const image = new OrderedImage(file, rules)
      await image.load(context.nodeName)
      return { io: ioOf(image), state: image, truncateFlags: BDRV_REQ_ZERO_WRITE }
    },
  })
}

function ioOf(image: OrderedImage): NodeIo {
  return {
    length: () => image.header.length,
    read: (offset, into) => image.read(offset, into),
    write: (offset, data) => image.change(() => image.write(offset, data)),
    writeZeroes: (offset, bytes) => image.change(() => image.zero(offset, bytes)),
    discard: (offset, bytes) => image.change(() => image.discard(offset, bytes)),
    flush: () => image.flush(),
    truncate: (length) => image.change(() => image.resize(length)),
    check: () => image.check(),
  }
}

interface Header {
  length: number
  mapOffset: number
  entries: number
}

class OrderedImage {
  header: Header = { length: 0, mapOffset: 0, entries: 0 }
  readonly #file: BlockChild
  readonly #rules: OrderRules
  readonly #mutex = new Mutex()
  #map: number[] = []
  #refcounts = new Uint8Array(MAX_CLUSTERS)
  #poisoned = false

  constructor(file: BlockChild, rules: OrderRules) {
    this.#file = file
    this.#rules = rules
  }

  async load(node: string): Promise<void> {
    const raw = new Uint8Array(32)
    await read(this.#file, 0, raw)
    const header = decodeHeader(raw)
    const { mapOffset, entries, length } = header ?? { mapOffset: 0, entries: 0, length: 0 }
    if (header === undefined || mapOffset % CLUSTER !== 0 || entries > 65_536 || length > entries * CLUSTER) {
      throw new BlockError('EINVAL', 'the header is damaged', { node, op: 'open' })
    }
    this.header = header
    await read(this.#file, REFCOUNTS, this.#refcounts)
    const map = new Uint8Array(entries * 4)
    await read(this.#file, mapOffset, map)
    const view = new DataView(map.buffer)
    this.#map = Array.from({ length: entries }, (_, index) => view.getUint32(index * 4))
  }

  /** One change at a time. What fails half-way leaves disk and memory different: nothing is certain any more. */
  change(act: () => Promise<void>): Promise<void> {
    return this.#mutex.runExclusive(async () => {
      this.#refusePoisoned()
      try {
        await act()
      } catch (error) {
        this.#poisoned = this.#rules.errorPoisons
        throw error
      }
    })
  }

  async flush(): Promise<void> {
    this.#refusePoisoned()
  }

  async read(offset: number, into: Bytes): Promise<void> {
    for (const { index, within, from, bytes } of pieces(offset, into.byteLength)) {
      const host = this.#map[index] ?? 0
      const part = sliceBytes(into, from, from + bytes)
      if (host === 0) zeroBytes(part)
      else await read(this.#file, host * CLUSTER + within, part)
    }
  }

  async write(offset: number, data: Bytes): Promise<void> {
    for (const { index, within, from, bytes } of pieces(offset, data.byteLength)) {
      const part = flattenBytes(sliceBytes(data, from, from + bytes))
      const host = this.#map[index] ?? 0
      if (host !== 0) await write(this.#file, host * CLUSTER + within, part)
      else await this.#allocate(index, within, part)
    }
  }

  async zero(offset: number, bytes: number): Promise<void> {
    for (const { index, within, bytes: part } of pieces(offset, bytes)) {
      if ((this.#map[index] ?? 0) === 0) continue
      if (part === CLUSTER) await this.#release([index])
      else await this.write(index * CLUSTER + within, new Uint8Array(part))
    }
  }

  async discard(offset: number, bytes: number): Promise<void> {
    const whole = pieces(offset, bytes).filter((piece) => piece.bytes === CLUSTER)
    await this.#release(whole.map(({ index }) => index))
  }

  async resize(length: number): Promise<void> {
    const entries = Math.ceil(length / CLUSTER)
    const { length: before } = this.header
    if (length < before) await this.#cut(length, before)
    if (entries > this.header.entries) await this.#growMap(entries, length)
    else await this.#writeHeader({ ...this.header, length })
  }

  async check(): Promise<BdrvCheckResult> {
    const counted = new Uint8Array(MAX_CLUSTERS)
    const { mapOffset, entries } = this.header
    const mapClusters = Array.from({ length: clustersFor(entries) }, (_, index) => mapOffset / CLUSTER + index)
    let corruptions = 0
    for (const cluster of [0, 1, ...mapClusters, ...this.#map.filter((host) => host !== 0)]) {
      if (cluster >= MAX_CLUSTERS) corruptions++
      else counted[cluster] = (counted[cluster] ?? 0) + 1
    }
    let leaks = 0
    for (const [cluster, count] of counted.entries()) {
      const stored = this.#refcounts[cluster] ?? 0
      if (count > 1 || stored < count) corruptions++
      else if (stored > count) leaks++
    }
    const fragmentation = { allocatedClusters: 0, totalClusters: 0, fragmentedClusters: 0, compressedClusters: 0 }
    return { corruptions, leaks, checkErrors: 0, corruptionsFixed: 0, leaksFixed: 0, imageEndOffset: 0, fragmentation }
  }

  async #allocate(index: number, within: number, part: Uint8Array): Promise<void> {
    const { refcountBeforeEntry, dataBeforeEntry } = this.#rules
    const host = this.#take(1)
    const content = new Uint8Array(CLUSTER)
    content.set(part, within)
    if (refcountBeforeEntry) await this.#writeRefcounts(host, 1)
    if (dataBeforeEntry) await write(this.#file, host * CLUSTER, content)
    await flush(this.#file)
    await this.#writeEntry(index, host)
    if (!refcountBeforeEntry) await this.#writeRefcounts(host, 1)
    if (!dataBeforeEntry) await write(this.#file, host * CLUSTER, content)
  }

  async #release(indices: readonly number[]): Promise<void> {
    const freed: number[] = []
    for (const index of indices) {
      const host = this.#map[index] ?? 0
      if (host === 0) continue
      freed.push(host)
      if (this.#rules.clearedBeforeFree) await this.#writeEntry(index, 0)
      else this.#map[index] = 0
    }
    if (freed.length === 0) return
    if (this.#rules.clearedBeforeFree) await flush(this.#file)
    await this.#free(freed)
    if (!this.#rules.clearedBeforeFree) for (const index of indices) await this.#writeEntry(index, 0)
  }

  async #free(hosts: readonly number[]): Promise<void> {
    for (const host of hosts) {
      this.#refcounts[host] = 0
      await this.#writeRefcounts(host, 1)
    }
    for (const host of hosts) await discard(this.#file, host * CLUSTER, CLUSTER)
  }

  async #cut(length: number, before: number): Promise<void> {
    const first = Math.ceil(length / CLUSTER)
    const border = first * CLUSTER
    if (length < border) await this.zero(length, Math.min(border, before) - length)
    await this.#release(Array.from({ length: this.header.entries - first }, (_, index) => first + index))
  }

  async #growMap(entries: number, length: number): Promise<void> {
    const { mapBeforeHeader } = this.#rules
    const old = this.header
    const clusters = clustersFor(entries)
    const host = this.#take(clusters)
    await this.#writeRefcounts(host, clusters)
    const map = [...this.#map, ...new Array<number>(entries - this.#map.length).fill(0)]
    const raw = new Uint8Array(clusters * CLUSTER)
    const view = new DataView(raw.buffer)
    for (const [index, entry] of map.entries()) view.setUint32(index * 4, entry)
    if (mapBeforeHeader) {
      await write(this.#file, host * CLUSTER, raw)
      await flush(this.#file)
    }
    await this.#writeHeader({ length, mapOffset: host * CLUSTER, entries })
    if (mapBeforeHeader) await flush(this.#file)
    else await write(this.#file, host * CLUSTER, raw)
    this.#map = map
    await this.#free(Array.from({ length: clustersFor(old.entries) }, (_, at) => old.mapOffset / CLUSTER + at))
  }

  /** Takes a run of free clusters, in memory. */
  #take(count: number): number {
    const refcounts = this.#refcounts
    for (let first = 2; first + count <= MAX_CLUSTERS; first++) {
      if (refcounts.subarray(first, first + count).some((refcount) => refcount > 0)) continue
      refcounts.fill(1, first, first + count)
      return first
    }
    throw new BlockError('ENOSPC', 'no free cluster', { op: 'write' })
  }

  async #writeRefcounts(first: number, count: number): Promise<void> {
    await write(this.#file, REFCOUNTS + first, this.#refcounts.slice(first, first + count))
  }

  async #writeEntry(index: number, host: number): Promise<void> {
    const raw = new Uint8Array(4)
    new DataView(raw.buffer).setUint32(0, host)
    await write(this.#file, this.header.mapOffset + index * 4, raw)
    this.#map[index] = host
  }

  async #writeHeader(header: Header): Promise<void> {
    await write(this.#file, 0, encodeHeader(header))
    this.header = header
  }

  #refusePoisoned(): void {
    if (this.#poisoned) throw new BlockError('EIO', 'an earlier error left the image in an unknown state')
  }
}

interface Piece {
  index: number
  within: number
  from: number
  bytes: number
}

/** The parts of a range, cluster by cluster. */
function pieces(offset: number, bytes: number): Piece[] {
  const found: Piece[] = []
  for (let from = 0; from < bytes; ) {
    const index = Math.floor((offset + from) / CLUSTER)
    const within = (offset + from) % CLUSTER
    const part = Math.min(CLUSTER - within, bytes - from)
    found.push({ index, within, from, bytes: part })
    from += part
  }
  return found
}

function clustersFor(entries: number): number {
  return Math.max(Math.ceil(entries / ENTRIES_PER_CLUSTER), 1)
}

function encodeHeader({ length, mapOffset, entries }: Header): Uint8Array {
  const raw = new Uint8Array(16)
  const view = new DataView(raw.buffer)
  view.setUint32(0, MAGIC)
  view.setUint32(4, length)
  view.setUint32(8, mapOffset)
  view.setUint32(12, entries)
  return raw
}

function decodeHeader(raw: Uint8Array): Header | undefined {
  const view = new DataView(raw.buffer, raw.byteOffset)
  if (view.getUint32(0) !== MAGIC) return undefined
  return { length: view.getUint32(4), mapOffset: view.getUint32(8), entries: view.getUint32(12) }
}
