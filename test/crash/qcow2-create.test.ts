// Images in the making, on a host that stops at any moment or fails: what is there then is no image yet, or a sound one that reads
// as zeroes and names the backing file it is to have. One that is to be encrypted is never there in the clear: until it is whole
// it is refused, by an error that says why.

import { describe, expect, it } from 'vitest'
import { BlockError } from '../../src/common/error.js'
import type { HostServices } from '../../src/common/host-services.js'
import { BDRV_O_NO_BACKING } from '../../src/common/open-flags.js'
import { CRYPT_AES, CRYPT_LUKS, CRYPT_NONE } from '../../src/drivers/qcow2/format/header.js'
import { qcow2Driver } from '../../src/drivers/qcow2/index.js'
import { rawDriver } from '../../src/drivers/raw.js'
import { checkImage } from '../../src/global-state/check-image.js'
import { BlockGraph } from '../../src/global-state/graph.js'
import { createImage } from '../../src/global-state/life/create-image.js'
import type { FlatOptions } from '../../src/global-state/options/options.js'
import { nodeCrypto } from '../../src/platform/crypto.js'
import { nodeServices } from '../../src/platform/services.js'
import { partCount } from '../../src/testing/crash/change.js'
import { crashChoices } from '../../src/testing/crash/crash-choices.js'
import { crashPoints } from '../../src/testing/crash/crash-points.js'
import { crashState, stateKey } from '../../src/testing/crash/crash-state.js'
import { imagesOf, storesOf } from '../../src/testing/crash/crash-world.js'
import { seededRandom } from '../../src/testing/crash/seeded-random.js'
import { FaultPlan } from '../../src/testing/storage/faults.js'
import { ChunkStore, contentOf, storageDriver } from '../../src/testing/storage/memory-storage.js'
import { Recording } from '../../src/testing/storage/recording.js'
import { openRig } from '../support/driver-rig.js'
import { inspectQcow2 } from '../support/qcow2-inspector.js'
import { recordedFiles } from '../support/recorded-files.js'

const SIZE = 40_960
const LONG_NAME = 'b'.repeat(600)

/** Options of an image that is encrypted, and their method in its header. */
const LUKS = {
  'encrypt.format': 'luks',
  'encrypt.key-secret': 's0',
  'encrypt.cipher-alg': 'aes-128',
  'encrypt.cipher-mode': 'cbc',
  'encrypt.ivgen-alg': 'plain64',
  'encrypt.iter-time': 0,
}
const CRYPT_METHODS: Readonly<Record<string, number>> = { luks: CRYPT_LUKS, aes: CRYPT_AES }
const UNFINISHED = `Missing CRYPTO header for crypt method ${CRYPT_LUKS}`
const PASSWORD = new TextEncoder().encode('open sesame')

const KINDS: Readonly<Record<string, FlatOptions>> = {
  'as it comes': {},
  'version 2': { compat: '0.10' },
  'a long backing file name': { backing_file: LONG_NAME, backing_fmt: 'raw' },
  'places for all of it': { preallocation: 'metadata', cluster_size: 1024 },
  'allocated space': { preallocation: 'falloc' },
  'written space': { preallocation: 'full', cluster_size: 512 },
  'places of subclusters': { preallocation: 'metadata', extended_l2: true, cluster_size: 16_384 },
  'a refcount table that grows': { preallocation: 'metadata', refcount_bits: 64, cluster_size: 512 },
  'counts of one bit': { preallocation: 'full', refcount_bits: 1, lazy_refcounts: true, cluster_size: 512 },
  'a data file': { data_file: 'data', preallocation: 'metadata' },
  encryption: LUKS,
  'encryption in small clusters, of version 2': { ...LUKS, cluster_size: 512, compat: '0.10' },
  'encryption and a long backing file name': { ...LUKS, backing_file: LONG_NAME, backing_fmt: 'raw' },
  'encryption and places for all of it': { ...LUKS, preallocation: 'metadata' },
  'encryption of old': { 'encrypt.format': 'aes', 'encrypt.key-secret': 's0' },
  'encryption of old and written space': {
    'encrypt.format': 'aes',
    'encrypt.key-secret': 's0',
    preallocation: 'full',
    cluster_size: 512,
  },
}

/** Keys of images are chance, but the same in every run. */
function seededServices(): HostServices {
  const random = seededRandom(7)
  const randomBytes = (count: number) => Uint8Array.from({ length: count }, () => random(256))
  return { ...nodeServices, crypto: { ...nodeCrypto, randomBytes } }
}

/** Stores, and what was done to them. */
class Making {
  readonly stores: ReadonlyMap<string, ChunkStore>
  readonly recording = new Recording()
  readonly plan = new FaultPlan()
  readonly #options: FlatOptions

  constructor(options: FlatOptions) {
    this.#options = options
    const names = options.data_file === undefined ? ['disk'] : ['disk', 'data']
    this.stores = new Map(names.map((name) => [name, new ChunkStore(0)]))
  }

  async run(): Promise<void> {
    const drivers = [qcow2Driver, rawDriver, ...recordedFiles(this.stores, this.recording, this.plan)]
    const graph = new BlockGraph({ drivers, services: seededServices() })
    graph.secrets.define('s0', PASSWORD)
    const options = { cluster_size: 4096, ...this.#options }
    await graph.mainLoop((main) =>
      createImage(main, graph, { filename: 'disk', format: 'qcow2', size: SIZE, options, trustBacking: true }),
    )
  }
}

/** Why an image that does not open is no sound one; undefined where it was never there, or waits for its header of LUKS. */
function refusalProblem(error: BlockError, isImage: boolean, options: FlatOptions): string | undefined {
  if (!isImage) return undefined
  const unfinished =
    error.code === 'EINVAL' && error.message.endsWith(UNFINISHED) && options['encrypt.format'] === 'luks'
  return unfinished ? undefined : `does not open: ${error.message}`
}

/** What is wrong with the image; undefined where nothing is. `length` is its length, undefined where there is no image yet. */
async function verdictOf(
  stores: ReadonlyMap<string, ChunkStore>,
  options: FlatOptions,
): Promise<{ problem?: string | undefined; length?: number }> {
  const disk = stores.get('disk') ?? new ChunkStore(0)
  const start = Buffer.from(contentOf(disk).subarray(0, 512))
  const isImage = start.toString('latin1', 0, 4) === 'QFI\xfb'
  const method = CRYPT_METHODS[String(options['encrypt.format'])]
  if (isImage && start.readUInt32BE(32) !== (method ?? CRYPT_NONE)) return { problem: 'it is encrypted otherwise' }
  const encryption =
    method === undefined ? {} : { 'encrypt.key-secret': 's0', 'encrypt.format': options['encrypt.format'] }
  const drivers = [...stores].map(([name, store]) => storageDriver(store, `storage-${name}`))
  const data = stores.has('data') ? { 'data-file': { driver: 'storage-data' } } : {}
  const wanted = { driver: 'qcow2', file: { driver: 'storage-disk' }, ...data, ...encryption }
  const rig = await openRig(wanted, {
    drivers,
    services: nodeServices,
    secrets: { s0: PASSWORD },
    settings: { flags: BDRV_O_NO_BACKING },
  }).catch((error: unknown) => error)
  if (rig instanceof BlockError) return { problem: refusalProblem(rig, isImage, options) }
  if (rig instanceof Error || rig === undefined) throw rig
  const opened = rig as Awaited<ReturnType<typeof openRig>>
  try {
    const { graph, node, backend } = opened
    const lines: string[] = []
    const { corruptions, checkErrors } = await graph.mainLoop((main) =>
      checkImage(main, node, 0, (line) => lines.push(line)),
    )
    if (corruptions + checkErrors > 0) return { problem: lines.slice(0, 3).join('; ') }
    const content = new Uint8Array(backend.length)
    if (content.byteLength > 0) await backend.read(0, content)
    // Clusters allocated ahead hold zeroes, which are none to the guest of an encrypted image.
    const mayShowChance = method !== undefined && options.preallocation !== undefined
    if (!mayShowChance && content.some((byte) => byte !== 0)) return { problem: 'it does not read as zeroes' }
    const { backing } = (await node.io.info?.()) ?? {}
    if (backing?.filename !== options.backing_file) return { problem: `its backing file is ${backing?.filename}` }
    return { length: content.byteLength }
  } finally {
    await opened.close()
  }
}

describe('a crash while an image is made with', () => {
  it.each(Object.entries(KINDS))('%s leaves no image or a sound one', { timeout: 120_000 }, async (_name, options) => {
    const making = new Making(options)
    const initial = imagesOf(making.stores)
    await making.run()
    expect(await verdictOf(making.stores, options)).toEqual({ length: SIZE })
    const random = seededRandom(1)
    const seen = new Set<string>()
    const outcomes = { none: 0, some: 0 }
    for (const point of crashPoints(making.recording, initial)) {
      for (const choice of crashChoices(
        point.window.map(({ entry }) => partCount(entry)),
        random,
      )) {
        const images = crashState(point, choice)
        const key = stateKey(images)
        if (seen.has(key)) continue
        seen.add(key)
        const { problem, length } = await verdictOf(storesOf(images), options)
        expect(problem, `crash at ${point.serial}, ${JSON.stringify(choice)}`).toBeUndefined()
        outcomes[length === undefined ? 'none' : 'some']++
      }
    }
    expect(outcomes.none).toBeGreaterThan(0)
    expect(outcomes.some).toBeGreaterThan(0)
  })
})

describe('a fault while an image is made with', () => {
  it.each(Object.entries(KINDS))('%s is told, and leaves no image or a sound one', async (_name, options) => {
    let faults = 0
    for (let nth = 1; ; nth++) {
      const making = new Making(options)
      const fault = making.plan.add({ nth, fail: 'EIO' })
      const failure = await making.run().then(
        () => undefined,
        (error: unknown) => error,
      )
      if (fault.hits === 0) break
      faults++
      expect(failure === undefined || failure instanceof BlockError, `lower call ${nth}: ${failure}`).toBe(true)
      const stores = new Map([...making.stores].map(([name, store]) => [name, store] as const))
      const { problem } = await verdictOf(stores, options)
      expect(problem, `lower call ${nth}`).toBeUndefined()
      const disk = making.stores.get('disk')
      if (disk !== undefined && failure === undefined) expect(inspectQcow2(contentOf(disk)).problems).toEqual([])
    }
    expect(faults).toBeGreaterThan(3)
  })
})
