// Read and write of a node: the cheapest door that cannot block, or for writes, where that was asked for, hardly ever does.
// A read is tried in the host's cache first; whatever is left goes to the pool. Direct I/O with memory that is not aligned goes through an aligned buffer.

import { type Bytes, buffersOf, copyBytes, sliceBytes } from '../../common/io-vector.js'
import { MiB } from '../../common/units.js'
import type { Completion } from '../../io/node-io.js'
import { isArenaMemory, releaseAlignedBuffer, takeAlignedBuffer } from '../../platform/aligned-buffer.js'
import type { OpenFile } from './open-file.js'
import { readFromPool, writeByPool } from './transfer.js'

/** Fills `into`; what is behind the end of the file reads as zeroes. */
export function readFile(file: OpenFile, offset: number, into: Bytes): Completion {
  const { cachedReads } = file.doors
  if (cachedReads !== undefined) {
    const got = cachedReads.tryRead(file.descriptor.number, into, offset)
    if (got === into.length) return
    return readFromPool(file, into, got, offset)
  }
  if (into.length === 0) return
  if (file.direct && !isMemoryAligned(file, into)) return readBounced(file, offset, into)
  return readFromPool(file, into, 0, offset)
}

/** Writes all of `data`. */
export function writeFile(file: OpenFile, offset: number, data: Bytes): Completion {
  if (data.length === 0) return
  if (file.direct && !isMemoryAligned(file, data)) return writeBounced(file, offset, data)
  const { inlineWrites } = file.doors
  // A flush or the like may keep a write waiting until it has ended.
  if (inlineWrites === undefined || file.otherCalls > 0) return writeByPool(file, data, 0, offset)
  const written = inlineWrites.tryWrite(file.descriptor.number, data, offset)
  if (written < data.length) return writeByPool(file, data, written, offset)
}

/** Most bytes of aligned memory one request takes. A multiple of every request alignment met. */
const BOUNCE_BYTES = MiB

async function readBounced(file: OpenFile, offset: number, into: Bytes): Promise<void> {
  const bounce = takeAlignedBuffer(Math.min(into.length, BOUNCE_BYTES))
  try {
    for (let done = 0; done < into.length; done += bounce.length) {
      const bytes = Math.min(bounce.length, into.length - done)
      const part = bounce.subarray(0, bytes)
      await readFromPool(file, part, 0, offset + done)
      copyBytes(into, part, done)
    }
  } finally {
    releaseAlignedBuffer(bounce)
  }
}

async function writeBounced(file: OpenFile, offset: number, data: Bytes): Promise<void> {
  const bounce = takeAlignedBuffer(Math.min(data.length, BOUNCE_BYTES))
  try {
    for (let done = 0; done < data.length; done += bounce.length) {
      const bytes = Math.min(bounce.length, data.length - done)
      const part = bounce.subarray(0, bytes)
      copyBytes(part, sliceBytes(data, done, done + bytes))
      await writeByPool(file, part, 0, offset + done)
    }
  } finally {
    releaseAlignedBuffer(bounce)
  }
}

/** Whether the host takes this memory for direct I/O. Where that cannot be known it counts as unaligned. */
function isMemoryAligned(file: OpenFile, bytes: Bytes): boolean {
  if (bytes instanceof Uint8Array) return isBufferAligned(file, bytes)
  return buffersOf(bytes).every((buffer) => isBufferAligned(file, buffer))
}

function isBufferAligned(file: OpenFile, buffer: Uint8Array): boolean {
  if (buffer.length % file.requestAlignment !== 0) return false
  if (isArenaMemory(buffer)) return buffer.byteOffset % file.memoryAlignment === 0
  return file.native !== undefined && file.native.address(buffer) % file.memoryAlignment === 0
}
