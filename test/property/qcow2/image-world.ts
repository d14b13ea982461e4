// Images on stores in memory whose requests wait for the order of a seed: one image, or a chain of them.

import { deflateRawSync, inflateRawSync } from 'node:zlib'
import type { BdrvCheckResult } from '../../../src/common/block-info.js'
import type { HostServices } from '../../../src/common/host-services.js'
import { checkImage } from '../../../src/global-state/check-image.js'
import type { BlockDriver } from '../../../src/global-state/driver.js'
import { loadSnapshot } from '../../../src/global-state/snapshot.js'
import { withDrained } from '../../../src/io/drained.js'
import { nodeServices } from '../../../src/platform/services.js'
import { Controller, controlledDriver } from '../../../src/testing/storage/controlled.js'
import { ChunkStore, storageDriver, storageOf } from '../../../src/testing/storage/memory-storage.js'
import { openRig, type Rig, type RigOptions } from '../../support/driver-rig.js'
import { emptyImage, type HandMadeOptions } from '../../support/qcow2-image.js'
import { ReleaseOrder } from '../../support/release-order.js'

/** One image of a chain. */
export interface LayerKind {
  image: HandMadeOptions
  /** Bytes of its disk. */
  size: number
  /** Runtime options. */
  open?: Readonly<Record<string, unknown>>
  /** The image, where it is not made by `image`: encrypted, by the secret `s0`. */
  encrypted?: Uint8Array
}

const SECRET = 's0'
export const PASSWORD = 'a word'

type NodeOptions = Record<string, unknown>

/** Images on stores, and the graph in which they are open. */
export class ImageWorld {
  readonly controller = new Controller()
  readonly order: ReleaseOrder
  /** From the base to the top. */
  readonly layers: readonly LayerKind[]
  readonly #stores: readonly ChunkStore[]
  readonly #dataStores: readonly (ChunkStore | undefined)[]
  /** Runtime options of each. */
  readonly #open: Readonly<Record<string, unknown>>[]
  /** The one at work: those above it do not exist yet. */
  #top = 0
  #rig: Rig | undefined

  constructor(layers: readonly LayerKind[], seed: number) {
    this.layers = layers
    this.order = new ReleaseOrder(this.controller, seed)
    this.#stores = layers.map(({ image, size, encrypted }) => storageOf(encrypted?.slice() ?? emptyImage(size, image)))
    this.#dataStores = layers.map(({ image, size }) =>
      image.dataFile === undefined ? undefined : new ChunkStore(size),
    )
    this.#open = layers.map(({ open }) => open ?? {})
  }

  get rig(): Rig {
    if (this.#rig === undefined) throw new Error('the image is not open')
    return this.#rig
  }

  /** Options that the image at work cannot be opened without. */
  get always(): Readonly<Record<string, unknown>> {
    return alwaysOf(this.layers[this.#top])
  }

  /** Goes on with layer `index`, which shows those below it. */
  moveTo(index: number): void {
    this.#top = index
  }

  /** Opens the layer at work, with other options where some are given; requests wait for the order. */
  async open(options?: Readonly<Record<string, unknown>>): Promise<void> {
    if (options !== undefined) this.#open[this.#top] = options
    const opening = this.order.outside(() => openRig(this.#options('waits'), this.#environment('waits')))
    this.#rig = await this.order.drive(opening)
  }

  /** Closes the chain. */
  async close(): Promise<void> {
    const { rig } = this
    this.#rig = undefined
    const left = await this.order.drive(rig.close())
    if (left !== 0) throw new Error(`${left} nodes are left`)
  }

  /** All that the open disk shows. */
  async readAll(): Promise<Uint8Array> {
    const { backend } = this.rig
    const content = new Uint8Array(backend.length)
    await this.order.drive(backend.read(0, content))
    return content
  }

  /** What a check of the open image finds; its lines where it finds anything. */
  async check(): Promise<{ result: BdrvCheckResult; lines: string[] }> {
    const { graph, node } = this.rig
    const lines: string[] = []
    const run = graph.mainLoop((main) => checkImage(main, node, 0, (line) => lines.push(line)))
    return { result: await this.order.drive(run), lines }
  }

  /** What snapshot `name` of the closed image at work shows, up to the length of the disk. */
  async readSnapshot(name: string): Promise<Uint8Array> {
    const rig = await openRig({ ...this.#options('at-once'), 'read-only': true }, this.#environment('at-once'))
    try {
      const { graph, node, backend } = rig
      await graph.mainLoop((main) => withDrained([node], (quiet) => loadSnapshot(main, quiet, node, { name })))
      const content = new Uint8Array(backend.length)
      await backend.read(0, content)
      return content
    } finally {
      await rig.close()
    }
  }

  #options(mode: StorageMode): NodeOptions {
    let below: NodeOptions | undefined
    for (let index = 0; index <= this.#top; index++) {
      below = {
        driver: 'qcow2',
        file: { driver: `${mode}-image-${index}` },
        ...(this.#dataStores[index] === undefined ? {} : { 'data-file': { driver: `${mode}-data-${index}` } }),
        ...(below === undefined ? {} : { backing: { ...below, 'read-only': true } }),
        ...alwaysOf(this.layers[index]),
        ...this.#open[index],
      }
    }
    return below ?? {}
  }

  #environment(mode: StorageMode): RigOptions {
    const driver = (name: string, store: ChunkStore): BlockDriver =>
      mode === 'waits' ? controlledDriver(this.controller, name, store) : storageDriver(store, name)
    const drivers = this.#stores.map((store, index) => driver(`${mode}-image-${index}`, store))
    for (const [index, store] of this.#dataStores.entries()) {
      if (store !== undefined) drivers.push(driver(`${mode}-data-${index}`, store))
    }
    const zstd = this.#zstd()
    const deflate = deflateOf(mode === 'waits' ? this.controller : undefined)
    const services: HostServices = { ...nodeServices, deflate, ...(zstd === undefined ? {} : { zstd }) }
    const secrets = { [SECRET]: new TextEncoder().encode(PASSWORD) }
    return { drivers, services, secrets, ...(mode === 'waits' ? {} : { perm: 1 }) }
  }

  /** The real one, which works in threads of its own. */
  #zstd(): HostServices['zstd'] {
    const { zstd } = nodeServices
    const { order } = this
    return zstd === undefined
      ? undefined
      : {
          compress: (data, most) => order.outside(async () => await zstd.compress(data, most)),
          decompress: (data, bytes) => order.outside(async () => await zstd.decompress(data, bytes)),
        }
  }
}

function alwaysOf(layer: LayerKind | undefined): Readonly<Record<string, unknown>> {
  return layer?.encrypted === undefined ? {} : { 'encrypt.format': 'luks', 'encrypt.key-secret': SECRET }
}

type StorageMode = 'waits' | 'at-once'

/** Compression that takes its time as storage does. */
function deflateOf(controller: Controller | undefined): NonNullable<HostServices['deflate']> {
  const turn = async (label: string, bytes: number) => {
    await controller?.admit(label, 'read', 0, bytes, () => undefined)
  }
  return {
    async compress(data, most) {
      await turn('compress', data.byteLength)
      const packed = deflateRawSync(data, { windowBits: 12 })
      return packed.byteLength <= most ? new Uint8Array(packed) : undefined
    },
    async decompress(data, bytes) {
      await turn('decompress', bytes)
      const plain = new Uint8Array(bytes)
      plain.set(inflateRawSync(data, { finishFlush: 2, maxOutputLength: bytes }))
      return plain
    },
  }
}
