// A qcow2 image open over memory, with its state, what reached its file, and faults that a test puts in the way.

import { expect } from 'vitest'
import { openStore } from '../../src/drivers/memory.js'
import { qcow2Driver } from '../../src/drivers/qcow2/index.js'
import type { Qcow2State } from '../../src/drivers/qcow2/state.js'
import { type BlockDriver, defineDriver } from '../../src/global-state/driver.js'
import type { MainLoop } from '../../src/global-state/main-loop.js'
import type { NodeState } from '../../src/global-state/node-state.js'
import { stateOf } from '../../src/global-state/state-of.js'
import { type DrainedSection, withDrained } from '../../src/io/drained.js'
import type { NodeIo, TruncateOptions } from '../../src/io/node-io.js'
import { nodeServices } from '../../src/platform/services.js'
import { FaultPlan, faultDriver } from '../../src/testing/storage/faults.js'
import { type ChunkStore, contentOf, storageDriver, storageOf } from '../../src/testing/storage/memory-storage.js'
import { openRig, type Rig, type RigOptions } from './driver-rig.js'
import { ImageBytes } from './qcow2-bytes.js'
import { runCheck } from './qcow2-check.js'

/** A request that took effect on the file. */
export interface FileRequest {
  op: 'read' | 'write' | 'zero' | 'discard' | 'truncate' | 'flush'
  offset: number
  bytes: number
}

export interface OpenOptions extends RigOptions {
  /** Options of the image's node. */
  options?: Record<string, unknown>
}

/** An image a test works on. */
export class OpenQcow2 {
  readonly rig: Rig
  readonly state: Qcow2State
  readonly faults: FaultPlan
  readonly requests: FileRequest[]
  readonly #store: ChunkStore

  constructor(rig: Rig, store: ChunkStore, faults: FaultPlan, requests: FileRequest[]) {
    this.rig = rig
    this.state = stateOf(rig.node, qcow2Driver)
    this.faults = faults
    this.requests = requests
    this.#store = store
  }

  /** The file as it is now. */
  get image(): ImageBytes {
    return new ImageBytes(contentOf(this.#store))
  }

  write(offset: number, bytes: number, value: number): Promise<void> {
    return this.rig.backend.write(offset, new Uint8Array(bytes).fill(value))
  }

  async read(offset: number, bytes: number): Promise<Uint8Array> {
    const into = new Uint8Array(bytes).fill(0xcc)
    await this.rig.backend.read(offset, into)
    return into
  }

  truncate(length: number, truncate: Partial<TruncateOptions> = {}): Promise<void> {
    return this.rig.backend.truncate(length, { truncate })
  }

  /** Runs `act` in the main loop while nothing is in flight. */
  quiet<T>(act: (main: MainLoop, quiet: DrainedSection, node: NodeState) => Promise<T>): Promise<T> {
    const { graph, node } = this.rig
    return graph.mainLoop((main) => withDrained([node], (section) => act(main, section, node)))
  }

  flush(): Promise<void> {
    return this.rig.backend.flush()
  }

  /** Requests of one kind since the last call of any kind, as [offset, bytes]. */
  taken(op: FileRequest['op']): [number, number][] {
    return this.requests
      .splice(0)
      .filter((request) => request.op === op)
      .map(({ offset, bytes }) => [offset, bytes])
  }

  close(): Promise<number> {
    return this.rig.close()
  }
}

/** Opens `image`; nothing that opening has done is in `requests`. */
export async function openQcow2(image: ImageBytes | Uint8Array, open: OpenOptions = {}): Promise<OpenQcow2> {
  const store = storageOf(image instanceof ImageBytes ? image.bytes : image)
  const faults = new FaultPlan()
  const requests: FileRequest[] = []
  const file = { driver: 'fault', file: { driver: 'logged' } }
  const rig = await openRig(
    { driver: 'qcow2', file, ...open.options },
    {
      services: nodeServices,
      ...open,
      drivers: [faultDriver(faults), loggedDriver(store, requests), ...(open.drivers ?? [])],
    },
  )
  requests.length = 0
  return new OpenQcow2(rig, store, faults, requests)
}

/** A file over `store` that writes down what it does. */
function loggedDriver(store: ChunkStore, requests: FileRequest[]): BlockDriver {
  return defineDriver({
    name: 'logged',
    kind: 'protocol',
    options: {},
    open(context) {
      const opened = openStore(store, context.node)
      return { ...opened, io: { ...opened.io, ...loggedIo(opened.io, requests) } }
    },
  }) as unknown as BlockDriver
}

function loggedIo(io: NodeIo, requests: FileRequest[]): Partial<NodeIo> {
  const note = (op: FileRequest['op'], offset: number, bytes: number) => {
    requests.push({ op, offset, bytes })
  }
  return {
    read(offset, into, flags) {
      note('read', offset, into.byteLength)
      return io.read(offset, into, flags)
    },
    write(offset, data, flags) {
      note('write', offset, data.byteLength)
      return io.write?.(offset, data, flags)
    },
    writeZeroes(offset, bytes, flags) {
      note('zero', offset, bytes)
      return io.writeZeroes?.(offset, bytes, flags)
    },
    discard(offset, bytes) {
      note('discard', offset, bytes)
      return io.discard?.(offset, bytes)
    },
    truncate(length, options) {
      note('truncate', length, 0)
      return io.truncate?.(length, options)
    },
    flush() {
      note('flush', 0, 0)
      return io.flush?.()
    },
  }
}

/** `bytes` bytes of `value`. */
export function filled(bytes: number, value: number): Uint8Array {
  return new Uint8Array(bytes).fill(value)
}

/** Opens an image over a backing file with this content. */
export function backedBy(content: Uint8Array): OpenOptions {
  return {
    drivers: [storageDriver(storageOf(content), 'base')],
    options: { backing: { driver: 'base', 'read-only': true } },
  }
}

/** Value and length of each run of equal bytes. */
export function runsOf(bytes: Uint8Array): [value: number, bytes: number][] {
  const runs: [number, number][] = []
  for (const byte of bytes) {
    const last = runs.at(-1)
    if (last !== undefined && last[0] === byte) last[1]++
    else runs.push([byte, 1])
  }
  return runs
}

/** Closes a disk and checks what it leaves: nothing is corrupt, and `leaks` clusters are leaked. */
export async function closeSound(disk: OpenQcow2, leaks = 0): Promise<void> {
  await disk.close()
  const { result } = await runCheck(disk.image)
  expect([result.corruptions, result.leaks, result.checkErrors]).toEqual([0, leaks, 0])
}
