// Zstandard: Node's own where it has it (22.15 and later), else the optional peer.

import * as zlib from 'node:zlib'
import { BlockError } from '../common/error.js'
import type { Compressor } from '../common/host-services.js'
import { type ZlibLimits, zlibCompressor } from './zlib-compressor.js'
import { frameOf } from './zstd-frame.js'
import { findZstdPeer, peerZstd } from './zstd-peer.js'

/** What newer versions of node:zlib have besides. */
export interface NativeZstd {
  zstdCompress: OnPool
  zstdCompressSync: AtOnce
  zstdDecompress: OnPool
  zstdDecompressSync: AtOnce
}
type AtOnce = (data: Uint8Array, limits: ZlibLimits) => Uint8Array
type OnPool = (data: Uint8Array, limits: ZlibLimits, done: (error: Error | null, result: Uint8Array) => void) => void

/** The best Zstandard of this host. ENOTSUP where there is none. */
export function bestZstd(): Compressor {
  if (hasZstd(zlib)) return nativeZstd(zlib)
  const peer = findZstdPeer()
  if (peer === undefined) throw new BlockError('ENOTSUP', 'zstd needs Node 22.15, or the package @bokuweb/zstd-wasm')
  return peerZstd(peer)
}

/** Zstandard by `module`, a node:zlib that has it. */
export function nativeZstd(module: NativeZstd): Compressor {
  return zlibCompressor({
    name: 'zstd',
    compress: { now: module.zstdCompressSync, onPool: module.zstdCompress },
    decompress: { now: module.zstdDecompressSync, onPool: module.zstdDecompress },
    streamOf: frameOf,
  })
}

function hasZstd(module: object): module is NativeZstd {
  return 'zstdCompress' in module
}
