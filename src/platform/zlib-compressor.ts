// A compressor from a method of Node's zlib. What takes longer than a hop to the thread pool and back goes there, the rest
// is done at once.

import type { ZlibOptions } from 'node:zlib'
import { BlockError } from '../common/error.js'
import type { Compressor } from '../common/host-services.js'
import { plainBytes } from './plain-bytes.js'

/** Options of zlib's calls that do not belong to one method. */
export type ZlibLimits = Pick<ZlibOptions, 'chunkSize' | 'maxOutputLength'>

/** A call of zlib: at once, or on the pool with a callback. */
export interface ZlibCall {
  now(data: Uint8Array, limits: ZlibLimits): Uint8Array
  onPool(data: Uint8Array, limits: ZlibLimits, done: (error: Error | null, result: Uint8Array) => void): void
}

/** A compression method of zlib. */
export interface ZlibMethod {
  readonly name: string
  readonly compress: ZlibCall
  readonly decompress: ZlibCall
  /** Picks the stream out of what is to be decompressed. EIO where there is none. */
  streamOf?(data: Uint8Array, bytes: number): Uint8Array
}

/** Bytes that are compressed at once: 50 us of work. */
const MOST_COMPRESSED_AT_ONCE = 4096

/** Bytes that are decompressed at once: 120 us of work, where the pool takes twice as long to answer. */
const MOST_DECOMPRESSED_AT_ONCE = 65536

const SMALLEST_CHUNK = 64

/** The compressor that `method` makes. */
export function zlibCompressor(method: ZlibMethod): Compressor {
  return {
    compress(data, most) {
      if (most <= 0) return undefined
      // One byte more in a chunk than is wanted spares a second chunk.
      const limits = { maxOutputLength: most, chunkSize: Math.max(most + 1, SMALLEST_CHUNK) }
      return data.length <= MOST_COMPRESSED_AT_ONCE
        ? compressNow(method, data, limits)
        : compressOnPool(method, data, limits)
    },

    decompress(data, bytes) {
      const stream = method.streamOf?.(data, bytes) ?? data
      const limits = { maxOutputLength: bytes, chunkSize: Math.max(bytes + 1, SMALLEST_CHUNK) }
      return bytes <= MOST_DECOMPRESSED_AT_ONCE
        ? decompressNow(method, stream, bytes, limits)
        : decompressOnPool(method, stream, bytes, limits)
    },
  }
}

function compressNow({ name, compress }: ZlibMethod, data: Uint8Array, limits: ZlibLimits): Uint8Array | undefined {
  try {
    return plainBytes(compress.now(data, limits))
  } catch (thrown) {
    if (isTooLong(thrown)) return undefined
    throw failed(name, thrown)
  }
}

function compressOnPool(method: ZlibMethod, data: Uint8Array, limits: ZlibLimits): Promise<Uint8Array | undefined> {
  return new Promise((resolve, reject) => {
    method.compress.onPool(data, limits, (error, result) => {
      if (error === null) resolve(plainBytes(result))
      else if (isTooLong(error)) resolve(undefined)
      else reject(failed(method.name, error))
    })
  })
}

function decompressNow(method: ZlibMethod, stream: Uint8Array, bytes: number, limits: ZlibLimits): Uint8Array {
  let result: Uint8Array
  try {
    result = method.decompress.now(stream, limits)
  } catch (thrown) {
    throw failed(method.name, thrown)
  }
  if (result.length !== bytes) throw endsEarly(method.name, result.length, bytes)
  return plainBytes(result)
}

function decompressOnPool(
  method: ZlibMethod,
  stream: Uint8Array,
  bytes: number,
  limits: ZlibLimits,
): Promise<Uint8Array> {
  return new Promise((resolve, reject) => {
    method.decompress.onPool(stream, limits, (error, result) => {
      if (error !== null) reject(failed(method.name, error))
      else if (result.length !== bytes) reject(endsEarly(method.name, result.length, bytes))
      else resolve(plainBytes(result))
    })
  })
}

function isTooLong(thrown: unknown): boolean {
  return (thrown as { code?: unknown }).code === 'ERR_BUFFER_TOO_LARGE'
}

function failed(name: string, thrown: unknown): BlockError {
  const said = isTooLong(thrown) ? 'the stream goes on behind its block' : (thrown as Error).message
  return new BlockError('EIO', `${name}: ${said}`, { cause: thrown })
}

function endsEarly(name: string, length: number, bytes: number): BlockError {
  return new BlockError('EIO', `${name}: the stream ends after ${length} of ${bytes} bytes`)
}
