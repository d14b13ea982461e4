// What a guest's kernel makes of a disk: the attributes its driver read from the device's configuration.

import type { Guest } from './guest.js'

/** As sysfs shows them, in bytes. */
export interface DiskAttributes {
  bytes: number
  readOnly: boolean
  serial: string
  /** Hardware queues in use: at most one for each processor of the guest. */
  queues: number
  logicalBlockSize: number
  physicalBlockSize: number
  optimalIoSize: number
  discardMaxBytes: number
  discardGranularity: number
  writeZeroesMaxBytes: number
  cache: string
  /** Numbers of the feature bits that both sides agreed on. */
  features: ReadonlySet<number>
}

/** Reads the attributes of `disk` ("vda"). */
export async function readAttributes(guest: Guest, disk: string): Promise<DiskAttributes> {
  const show = (name: string) => `cat /sys/block/${disk}/${name} || echo`
  const names = ['size', 'ro', 'queue/logical_block_size', 'queue/physical_block_size', 'queue/optimal_io_size']
  const limits = ['queue/discard_max_bytes', 'queue/discard_granularity', 'queue/write_zeroes_max_bytes']
  const texts = ['cache_type', 'device/features']
  const numbers = [...names, ...limits]
  const command = [...numbers, ...texts].map(show).join('; ')
  const lines = (
    await guest.check(`${command}; ls /sys/block/${disk}/mq | wc -l; cat /sys/block/${disk}/serial`)
  ).split('\n')
  const number = (name: string) => Number(lines[numbers.indexOf(name)])
  const [cache = '', features = '', queues = '', serial = ''] = lines.slice(numbers.length)
  return {
    bytes: number('size') * 512,
    readOnly: number('ro') === 1,
    serial,
    queues: Number(queues),
    logicalBlockSize: number('queue/logical_block_size'),
    physicalBlockSize: number('queue/physical_block_size'),
    optimalIoSize: number('queue/optimal_io_size'),
    discardMaxBytes: number('queue/discard_max_bytes'),
    discardGranularity: number('queue/discard_granularity'),
    writeZeroesMaxBytes: number('queue/write_zeroes_max_bytes'),
    cache,
    features: new Set([...features].flatMap((bit, index) => (bit === '1' ? [index] : []))),
  }
}

/** Sets the cache mode by way of the device's configuration, and returns what the kernel then says it is. */
export async function setCache(guest: Guest, disk: string, cache: 'write back' | 'write through'): Promise<string> {
  return guest.check(`echo '${cache}' > /sys/block/${disk}/cache_type && cat /sys/block/${disk}/cache_type`)
}
