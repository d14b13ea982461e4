// Raw deflate from Node's zlib. What takes longer than a hop to the thread pool and back goes there; the rest is done at once.

import { deflateRaw, deflateRawSync, inflateRaw, inflateRawSync, type ZlibOptions, constants as zlib } from 'node:zlib'
import { BlockError } from '../common/error.js'
import type { Compressor } from '../common/host-services.js'

/** Bytes that are compressed at once: 50 us of work. */
const MOST_COMPRESSED_AT_ONCE = 4096

/** Bytes that are decompressed at once: 120 us of work, where the pool takes twice as long to answer. */
const MOST_DECOMPRESSED_AT_ONCE = 65536

const SMALLEST_CHUNK = 64

/** The default level and a window of 4 KiB, which is all that qcow2 allows. */
export const nodeDeflate: Compressor = {
  compress(data, most) {
    if (most <= 0) return undefined
    const options = { windowBits: 12, memLevel: 9, maxOutputLength: most, chunkSize: Math.max(most, SMALLEST_CHUNK) }
    if (data.length <= MOST_COMPRESSED_AT_ONCE) return orTooLong(() => deflateRawSync(data, options))
    return new Promise((resolve, reject) => {
      deflateRaw(data, options, (error, result) => {
        if (error === null) resolve(result)
        else if (isTooLong(error)) resolve(undefined)
        else reject(new BlockError('EIO', `deflate: ${error.message}`, { cause: error }))
      })
    })
  },

  decompress(data, bytes) {
    const options = decompression(bytes)
    if (bytes <= MOST_DECOMPRESSED_AT_ONCE) {
      try {
        return exactly(inflateRawSync(data, options), bytes)
      } catch (thrown) {
        throw damaged(thrown)
      }
    }
    return new Promise((resolve, reject) => {
      inflateRaw(data, options, (error, result) => {
        if (error === null && result.length === bytes) resolve(result)
        else reject(damaged(error ?? tooShort(result.length, bytes)))
      })
    })
  },
}

/**
 * A stream that was cut after its last byte of output is whole for its reader, as the mark of its end may stand in a
 * sector that a format does not count. One byte more in a chunk than is wanted spares a second chunk.
 */
function decompression(bytes: number): ZlibOptions {
  return {
    finishFlush: zlib.Z_SYNC_FLUSH,
    maxOutputLength: bytes,
    chunkSize: Math.max(bytes + 1, SMALLEST_CHUNK),
  }
}

function orTooLong(compress: () => Uint8Array): Uint8Array | undefined {
  try {
    return compress()
  } catch (thrown) {
    if (isTooLong(thrown)) return undefined
    throw thrown
  }
}

function exactly(result: Uint8Array, bytes: number): Uint8Array {
  if (result.length !== bytes) throw tooShort(result.length, bytes)
  return result
}

function tooShort(length: number, bytes: number): Error {
  return new Error(`the stream ends after ${length} of ${bytes} bytes`)
}

function isTooLong(thrown: unknown): boolean {
  return (thrown as { code?: unknown }).code === 'ERR_BUFFER_TOO_LARGE'
}

function damaged(thrown: unknown): BlockError {
  const said = isTooLong(thrown) ? 'the stream goes on behind its block' : (thrown as Error).message
  return new BlockError('EIO', `inflate: ${said}`, { cause: thrown })
}
