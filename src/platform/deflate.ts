// Raw deflate from Node's zlib: what is written has the default level and a window of 4 KiB, which is all qcow2 allows.

import { deflateRaw, deflateRawSync, inflateRaw, inflateRawSync, constants as zlib } from 'node:zlib'
import { zlibCompressor } from './zlib-compressor.js'

const WRITTEN = { windowBits: 12, memLevel: 9 }

// A stream that was cut behind its last byte of output is whole for its reader, as the mark of its end may stand in a sector
// that a format does not count.
const READ = { finishFlush: zlib.Z_SYNC_FLUSH }

/** Raw deflate. */
export const nodeDeflate = zlibCompressor({
  name: 'deflate',
  compress: {
    now: (data, limits) => deflateRawSync(data, { ...WRITTEN, ...limits }),
    onPool: (data, limits, done) => deflateRaw(data, { ...WRITTEN, ...limits }, done),
  },
  decompress: {
    now: (data, limits) => inflateRawSync(data, { ...READ, ...limits }),
    onPool: (data, limits, done) => inflateRaw(data, { ...READ, ...limits }, done),
  },
})
