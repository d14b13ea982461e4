// null-co and null-aio: a disk of any size that forgets what is written. For benchmarks and tests. null-co completes at
// once; null-aio always later, as a device would. A latency makes both wait on the graph's clock.

import { BDRV_BLOCK_DATA, BDRV_BLOCK_OFFSET_VALID, BDRV_BLOCK_ZERO } from '../common/block-status.js'
import type { Clock } from '../common/clock.js'
import { BlockError } from '../common/error.js'
import { type Bytes, zeroBytes } from '../common/io-vector.js'
import { BDRV_REQ_FUA, BDRV_REQ_MAY_UNMAP, BDRV_REQ_NO_FALLBACK, BDRV_REQ_WRITE_UNCHANGED } from '../common/request.js'
import { GiB, type Offset } from '../common/units.js'
import { defineDriver } from '../global-state/driver.js'
import { flagOption, integerOption, type OptionValues, sizeOption } from '../global-state/options/option-schema.js'
import type { BlockDriverState } from '../io/block-node.js'
import type { Completion, NodeIo, StatusExtent } from '../io/node-io.js'

const NULL_OPTIONS = {
  size: sizeOption({ default: GiB, description: 'length of the disk' }),
  'read-zeroes': flagOption({ default: false, description: 'fill read buffers with zeroes instead of leaving them' }),
  'latency-ns': integerOption({ default: 0, min: 0, description: 'nanoseconds every request takes' }),
}

const WRITE_FLAGS = BDRV_REQ_FUA | BDRV_REQ_WRITE_UNCHANGED
const ZERO_FLAGS = WRITE_FLAGS | BDRV_REQ_MAY_UNMAP | BDRV_REQ_NO_FALLBACK

/** Completes every request before it returns, unless it has a latency. */
export const nullCoDriver = nullDriver('null-co', undefined)

// One settled promise serves every request: nobody may change it, and each waiter still gets a microtask of its own.
const LATER: Promise<void> = Promise.resolve()

/** Completes every request in a later microtask, or after its latency. */
export const nullAioDriver = nullDriver('null-aio', LATER)

function nullDriver(name: 'null-co' | 'null-aio', without: Completion) {
  return defineDriver({
    name,
    kind: 'protocol',
    protocolName: name,
    options: NULL_OPTIONS,
    strongOptions: ['size', 'read-zeroes'],
    parseFilename: (filename) => parseNullFilename(name, filename),
    filename: (options) => (isPlain(options) ? `${name}://` : undefined),
    open: (context, options) => ({
      io: nullIo(context.node, options, completionOf(options['latency-ns'], context.environment.clock, without)),
      state: undefined,
      writeFlags: WRITE_FLAGS,
      zeroFlags: ZERO_FLAGS,
    }),
    hasZeroInit: () => true,
  })
}

function parseNullFilename(name: string, filename: string): Record<string, unknown> {
  if (filename !== `${name}://`) {
    throw new BlockError('EINVAL', `the only file name of this driver is '${name}://'`, { op: 'open' })
  }
  return {}
}

function isPlain(options: OptionValues<typeof NULL_OPTIONS>): boolean {
  return options.size === GiB && !options['read-zeroes'] && options['latency-ns'] === 0
}

function completionOf(latencyNs: number, clock: Clock, without: Completion): () => Completion {
  if (latencyNs === 0) return () => without
  const ms = latencyNs / 1e6
  return () => new Promise<void>((resolve) => clock.after(ms, resolve))
}

function nullIo(
  node: BlockDriverState,
  options: OptionValues<typeof NULL_OPTIONS>,
  complete: () => Completion,
): NodeIo {
  const { size } = options
  const zeroes = options['read-zeroes']
  const status = BDRV_BLOCK_OFFSET_VALID | (zeroes ? BDRV_BLOCK_ZERO : BDRV_BLOCK_DATA)
  return {
    length: () => size,
    read(_offset: Offset, into: Bytes): Completion {
      if (zeroes) zeroBytes(into)
      return complete()
    },
    write: complete,
    writeZeroes: complete,
    discard: complete,
    flush: complete,
    blockStatus: (offset, bytes): StatusExtent => ({ bits: status, bytes, map: offset, file: node }),
    allocatedSize: () => 0,
  }
}
