// A disk whose every completion a test releases, one by one, in any order, or hands to a scheduler such as fast-check's.
// A request takes effect when it is released, so that a buffer changed too early or returned too early shows.

import type { ErrnoName } from '../../common/errno.js'
import { BlockError } from '../../common/error.js'
import type { RequestKind } from '../../common/request.js'
import type { Offset } from '../../common/units.js'
import { type MemoryState, openStore } from '../../drivers/memory.js'
import { type BlockDriver, defineDriver, type OpenedNode } from '../../global-state/driver.js'
import { sizeOption } from '../../global-state/options/option-schema.js'
import type { Completion, NodeIo } from '../../io/node-io.js'
import { ChunkStore } from './memory-storage.js'

/** A request that waits for the test. */
export interface ControlledRequest {
  readonly node: string
  readonly kind: RequestKind
  readonly offset: Offset
  readonly bytes: number
  /** Lets it take effect and complete. Does nothing the second time. */
  release(): void
  /** Lets it fail without effect. */
  fail(code: ErrnoName): void
}

/** What releases requests in place of the test: `fc.scheduler().schedule` fits, as does anything that delays a promise. */
export type Schedule = <T>(task: Promise<T>, label: string) => Promise<T>

/** Holds the requests of one or more controlled nodes. */
export class Controller {
  readonly pending: ControlledRequest[] = []
  /** While set, nothing waits for the test. */
  open = false
  readonly #schedule: Schedule | undefined
  #watchers: (() => void)[] = []

  /** With `schedule`, requests wait for it instead of the test. */
  constructor(schedule?: Schedule) {
    this.#schedule = schedule
  }

  /** Releases the oldest request; false where there is none. */
  releaseNext(): boolean {
    const [first] = this.pending
    first?.release()
    return first !== undefined
  }

  /** Releases what waits now. */
  releaseAll(): void {
    for (const request of [...this.pending]) request.release()
  }

  /** Resolves once `count` requests wait. */
  async waitFor(count: number): Promise<void> {
    while (this.pending.length < count) await new Promise<void>((resolve) => this.#watchers.push(resolve))
  }

  /** Lets a request wait for its release, then does `effect`. Called by the driver. */
  admit(node: string, kind: RequestKind, offset: Offset, bytes: number, effect: () => Completion): Completion {
    if (this.open) return effect()
    if (this.#schedule !== undefined) {
      return this.#schedule(Promise.resolve(), `${node}: ${kind} ${offset}+${bytes}`).then(effect)
    }
    return new Promise<void>((resolve, reject) => {
      const leave = () => {
        const index = this.pending.indexOf(request)
        if (index >= 0) this.pending.splice(index, 1)
        return index >= 0
      }
      const request: ControlledRequest = {
        node,
        kind,
        offset,
        bytes,
        release: () => {
          if (!leave()) return
          try {
            resolve(effect())
          } catch (error) {
            reject(error)
          }
        },
        fail: (code) => {
          if (leave()) reject(new BlockError(code, 'failed by a test', { node, op: kind }))
        },
      }
      this.pending.push(request)
      for (const watcher of this.#watchers.splice(0)) watcher()
    })
  }
}

/**
 * A protocol driver over memory whose requests wait for `controller`. Its option `size` gives the length; with `store` all
 * its nodes share that store instead. Block status and length answer at once.
 */
export function controlledDriver(controller: Controller, name = 'controlled', store?: ChunkStore): BlockDriver {
  return defineDriver({
    name,
    kind: 'protocol',
    options: { size: sizeOption({ default: 0, description: 'length of the disk at the start' }) },
    open(context, options): OpenedNode<MemoryState> {
      const opened = openStore(store ?? new ChunkStore(options.size), context.node)
      return { ...opened, io: { ...opened.io, ...controlledIo(opened.io, context.nodeName, controller) } }
    },
  })
}

/** The methods of `inner` that move or change data, each waiting for `controller`. */
export function controlledIo(inner: NodeIo, node: string, controller: Controller): Partial<NodeIo> {
  return {
    read: (offset, into, flags) =>
      controller.admit(node, 'read', offset, into.byteLength, () => inner.read(offset, into, flags)),
    write: (offset, data, flags) =>
      controller.admit(node, 'write', offset, data.byteLength, () => inner.write?.(offset, data, flags)),
    writeZeroes: (offset, bytes, flags) =>
      controller.admit(node, 'write-zeroes', offset, bytes, () => inner.writeZeroes?.(offset, bytes, flags)),
    discard: (offset, bytes) => controller.admit(node, 'discard', offset, bytes, () => inner.discard?.(offset, bytes)),
    flush: () => controller.admit(node, 'flush', 0, 0, () => inner.flush?.()),
    truncate: (length, options) =>
      controller.admit(node, 'truncate', 0, length, () => inner.truncate?.(length, options)),
    copyRangeTo: (source, sourceOffset, offset, bytes, flags) =>
      controller.admit(node, 'copy-range', offset, bytes, () =>
        inner.copyRangeTo?.(source, sourceOffset, offset, bytes, flags),
      ),
  }
}
