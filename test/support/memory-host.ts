// A host whose files are in memory, for making images by name: a protocol called `file` beside the drivers of formats.

import { ChunkStore, openStore } from '../../src/drivers/memory.js'
import { qcow2Driver } from '../../src/drivers/qcow2/index.js'
import { rawDriver } from '../../src/drivers/raw.js'
import { type BlockDriver, defineDriver } from '../../src/global-state/driver.js'
import { BlockGraph } from '../../src/global-state/graph.js'
import { createImage } from '../../src/global-state/life/create-image.js'
import { sizeOption, stringOption } from '../../src/global-state/options/option-schema.js'
import type { FlatOptions } from '../../src/global-state/options/options.js'
import { nodeServices } from '../../src/platform/services.js'
import { contentOf } from '../../src/testing/storage/memory-storage.js'
import { ImageBytes } from './qcow2-bytes.js'

/** Files by name, and a graph that knows them. */
export class MemoryHost {
  readonly files = new Map<string, ChunkStore>()
  readonly graph: BlockGraph

  constructor() {
    const drivers = [fileDriver(this.files), qcow2Driver, rawDriver] as unknown as BlockDriver[]
    this.graph = new BlockGraph({ drivers, services: nodeServices })
  }

  /** Makes the qcow2 image `name`, and gives its bytes. */
  async create(options: FlatOptions, name = 'image'): Promise<ImageBytes> {
    await this.graph.mainLoop((main) => createImage(main, this.graph, { filename: name, format: 'qcow2', options }))
    return this.image(name)
  }

  image(name = 'image'): ImageBytes {
    return new ImageBytes(contentOf(this.files.get(name) ?? new ChunkStore(0)))
  }
}

function fileDriver(files: Map<string, ChunkStore>): BlockDriver {
  return defineDriver({
    name: 'file',
    kind: 'protocol',
    protocolName: 'file',
    options: { filename: stringOption({ required: true }) },
    createOptions: { size: sizeOption({ required: true }) },
    async create(context, options) {
      files.set(context.filename, new ChunkStore(Number(options.size)))
    },
    open(context, options) {
      const store = files.get(options.filename)
      if (store === undefined) throw new Error(`there is no file '${options.filename}'`)
      return openStore(store, context.node)
    },
  }) as unknown as BlockDriver
}
