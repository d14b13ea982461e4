// The services of Node. Modules are loaded when a driver first asks, since start-up time is part of what a tool costs.

import type { Compressor, HostServices } from '../common/host-services.js'

/** What Node gives to the drivers of a graph. */
export const nodeServices: HostServices = {
  deflate: onDemand(async () => (await import('./deflate.js')).nodeDeflate),
  randomBytes: (count) => globalThis.crypto.getRandomValues(new Uint8Array(count)),
  wallClock() {
    const ms = Date.now()
    return { seconds: Math.floor(ms / 1000), nanoseconds: (ms % 1000) * 1_000_000 }
  },
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
