// The services of Node. What they stand on is loaded when a driver first asks, since start-up time is part of what a tool costs.

import type { Compressor, HostServices } from '../common/host-services.js'
import { nodeCrypto } from './crypto.js'

const deflate = onDemand(async () => (await import('./deflate.js')).nodeDeflate)
const zstd = onDemand(async () => (await import('./zstd.js')).bestZstd())
let hasZstd: boolean | undefined

/** What Node gives to the drivers of a graph. */
export const nodeServices: HostServices = {
  deflate,
  get zstd() {
    // Node brings it since 22.15; before, the optional peer does.
    hasZstd ??= 'zstd' in process.versions || isInstalled('@bokuweb/zstd-wasm')
    return hasZstd ? zstd : undefined
  },
  crypto: nodeCrypto,
  randomBytes: nodeCrypto.randomBytes,
  wallClock() {
    const ms = Date.now()
    return { seconds: Math.floor(ms / 1000), nanoseconds: (ms % 1000) * 1_000_000 }
  },
}

function isInstalled(name: string): boolean {
  try {
    process
      .getBuiltinModule('node:module')
      .createRequire(import.meta.url)
      .resolve(name)
    return true
  } catch {
    return false
  }
}

/** A compressor behind an import: the first calls wait for it, later ones do not. */
function onDemand(load: () => Promise<Compressor>): Compressor {
  let loaded: Compressor | undefined
  let loading: Promise<Compressor> | undefined
  const wait = (): Promise<Compressor> => {
    loading ??= load().then((compressor) => {
      loaded = compressor
      return compressor
    })
    return loading
  }
  return {
    compress: (data, most) =>
      loaded === undefined ? wait().then((one) => one.compress(data, most)) : loaded.compress(data, most),
    decompress: (data, bytes) =>
      loaded === undefined ? wait().then((one) => one.decompress(data, bytes)) : loaded.decompress(data, bytes),
  }
}
