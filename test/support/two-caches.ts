// The two metadata caches of an image without the image: over a file in memory that writes down what takes effect.

import { BlockError } from '../../src/common/error.js'
import { type HostOffset, host } from '../../src/drivers/qcow2/format/layout.js'
import { MetadataCache } from '../../src/drivers/qcow2/metadata/metadata-cache.js'
import type { Completion } from '../../src/io/node-io.js'
import { type Call, edgeOn, MemoryIo, StubNode } from './stub-graph.js'

/** Bytes of a table. */
export const TABLE = 512

/** A file that writes down what took effect. */
class LoggedIo extends MemoryIo {
  readonly #log: string[]

  constructor(log: string[]) {
    super(0x10000)
    this.#log = log
  }

  protected override run(call: Call, effect: () => void): Completion {
    return super.run(call, () => {
      effect()
      this.#log.push(`${call.op} ${call.offset.toString(16)}`)
    })
  }
}

/** Two caches of one image: refcount blocks below 0x8000, L2 tables above. What reaches the file is in `log`. */
export class TwoCaches {
  readonly log: string[] = []
  readonly io = new LoggedIo(this.log)
  failBarrier = false
  refuse: HostOffset | undefined
  readonly refcounts: MetadataCache
  readonly l2: MetadataCache

  constructor(capacity = 8) {
    const file = edgeOn(new StubNode(this.io))
    const cacheHost = {
      file,
      barrier: async () => {
        this.log.push('barrier')
        await Promise.resolve()
        if (this.failBarrier) throw new BlockError('EIO', 'no barrier')
      },
      beforeWrite: (offset: HostOffset) => {
        if (offset === this.refuse) throw new BlockError('EPERM', 'refused')
      },
    }
    this.refcounts = new MetadataCache(cacheHost, TABLE, capacity)
    this.l2 = new MetadataCache(cacheHost, TABLE, capacity)
  }

  /** Changes the first byte of a table. */
  async change(cache: MetadataCache, offset: number, value = 1): Promise<void> {
    const entry = await cache.get(host(offset))
    entry.table.bytes[0] = value
    cache.markDirty(entry)
    cache.release(entry)
  }

  /** What was logged since the last call, reads left out. */
  written(): string[] {
    return this.log.splice(0).filter((line) => !line.startsWith('read'))
  }
}

/** Looks tables up, one after the other. */
export async function use(cache: MetadataCache, ...offsets: number[]): Promise<void> {
  for (const offset of offsets) cache.release(await cache.get(host(offset)))
}
