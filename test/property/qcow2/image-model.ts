// Runs commands on an image and keeps beside it what it must show: the disk as a buffer, snapshots as copies of it, dirty bitmaps
// as the ranges that were changed. After each step the image has to agree, and a check to find nothing.

import { BlockError } from '../../../src/common/error.js'
import { BLK_PERM_ALL, BLK_PERM_CONSISTENT_READ } from '../../../src/common/permissions.js'
import { mergeDirtyBitmap } from '../../../src/global-state/bitmaps/bitmap-content.js'
import { addDirtyBitmap, findDirtyBitmap, removeDirtyBitmap } from '../../../src/global-state/bitmaps/bitmaps.js'
import { reopenNodes, reopenReadOnly } from '../../../src/global-state/life/reopen.js'
import type { MainLoop } from '../../../src/global-state/main-loop.js'
import { applySnapshot, createSnapshot, deleteSnapshot } from '../../../src/global-state/snapshot.js'
import { isDirty } from '../../../src/io/dirty-bitmap.js'
import { type DrainedSection, withDrained } from '../../../src/io/drained.js'
import { loadVmstate, saveVmstate } from '../../../src/io/vmstate.js'
import { checkStatus } from '../../../src/testing/conformance/status-cases.js'
import { type BatchContext, runBatch } from './batch.js'
import { type ImageCommand, OPTION_SETS } from './commands.js'
import type { Effect } from './history.js'
import type { ImageWorld } from './image-world.js'

interface SnapshotModel {
  content: Uint8Array
  vmstate: Uint8Array
}

interface BitmapModel {
  granularity: number
  persistent: boolean
  changed: Pick<Effect, 'offset' | 'bytes' | 'outcome'>[]
}

/** What kind of image it is decides what it refuses. */
export interface ModelLimits {
  /** References a cluster may have. */
  maxRefcount: number
  version: number
  externalData: boolean
  /** Bytes of the largest disk. */
  most: number
}

/** An image and its model. */
export class ImageModel {
  readonly #context: BatchContext
  readonly #limits: ModelLimits
  readonly #snapshots = new Map<string, SnapshotModel>()
  readonly #bitmaps = new Map<string, BitmapModel>()
  #content: Uint8Array
  #serial = 0

  constructor(context: BatchContext, limits: ModelLimits, content: Uint8Array) {
    this.#context = context
    this.#limits = limits
    this.#content = content
  }

  get #world(): ImageWorld {
    return this.#context.world
  }

  async perform(command: ImageCommand): Promise<void> {
    switch (command.type) {
      case 'requests':
        return this.#requests(command)
      case 'snapshot':
        return this.#snapshot(command.vmstate)
      case 'apply':
        return this.#apply(command.which)
      case 'delete':
        return this.#delete(command.which)
      case 'add-bitmap':
        return this.#addBitmap(command.granularity, command.persistent)
      case 'remove-bitmap':
        return this.#removeBitmap(command.which)
      case 'merge-bitmap':
        return this.#mergeBitmap(command.which, command.from)
      case 'resize':
        return this.#resize(command)
      case 'reopen':
        return this.reopen(command.options)
      case 'change':
        return this.#change(command.options)
      case 'read-only':
        return this.#readOnly()
    }
  }

  /** Holds block status against what can be read, everywhere. */
  async compareStatus(): Promise<void> {
    const { graph, node, backend } = this.#world.rig
    await this.#drive(checkStatus({ graph, node, backend }))
  }

  /** Compares what shows while the image is open. */
  async compare(): Promise<void> {
    expectSame(await this.#world.readAll(), this.#content, 'the disk')
    this.#compareBitmaps()
    const { node } = this.#world.rig
    const { result, lines } = await this.#world.check()
    const { corruptions, leaks, checkErrors } = result
    // What was undone after a failure may be counted still.
    const leaked = this.#world.order.failed > 0 ? 0 : leaks
    if (corruptions + leaked + checkErrors > 0) throw new Error(`a check finds: ${lines.join('; ')}`)
    if (node.state.inFlight !== 0) throw new Error(`${node.state.inFlight} requests are in flight`)
  }

  /** Closes the image, looks at each snapshot, and opens it again with other options. */
  async reopen(options: number): Promise<void> {
    await this.#world.close()
    for (const [name, bitmap] of this.#bitmaps) if (!bitmap.persistent) this.#bitmaps.delete(name)
    for (const [name, { content }] of this.#snapshots) {
      const shown = await this.#world.readSnapshot(name)
      const both = Math.min(shown.byteLength, content.byteLength)
      expectSame(shown.subarray(0, both), content.subarray(0, both), `snapshot ${name}`)
    }
    await this.#world.open(OPTION_SETS[options] ?? {})
  }

  async #requests({ requests, together, failure }: Extract<ImageCommand, { type: 'requests' }>): Promise<void> {
    const { order } = this.#world
    order.failIn = failure
    const { content, history } = await runBatch(this.#context, requests, together, this.#content)
    this.#content = content
    const changes = history.effects.filter(({ kind }) => kind !== 'read')
    for (const bitmap of this.#bitmaps.values()) bitmap.changed.push(...changes)
  }

  async #snapshot(bytes: number): Promise<void> {
    const name = `s${this.#serial++}`
    const { node } = this.#world.rig
    const vmstate = Uint8Array.from({ length: bytes }, (_, at) => ((at * 7 + this.#serial) % 251) + 1)
    const taken = await this.#attempt(['EINVAL', 'ENOTSUP'], async () => {
      if (bytes > 0) await saveVmstate(node, 0, vmstate)
      await this.#quiet((main, quiet) => createSnapshot(main, quiet, node, { name, vmStateSize: bytes }))
    })
    if (taken === undefined) this.#snapshots.set(name, { content: this.#content.slice(), vmstate })
    else if (taken === 'EINVAL' && this.#limits.maxRefcount > 4) throw new Error('there was room for another reference')
    else if (taken === 'ENOTSUP' && !this.#limits.externalData) throw new Error('it should hold snapshots')
  }

  async #apply(which: number): Promise<void> {
    const chosen = [...this.#snapshots][which]
    if (chosen === undefined) return
    const [name, { content, vmstate }] = chosen
    const { node } = this.#world.rig
    const refused = await this.#attempt(['EBUSY', 'EINVAL'], () =>
      this.#quiet((main, quiet) => applySnapshot(main, quiet, node, { name })),
    )
    if (refused === 'EBUSY' && this.#bitmaps.size > 0) return
    if (refused === 'EINVAL' && this.#limits.maxRefcount < 4) return
    if (refused !== undefined) throw new Error(`applying a snapshot is refused with ${refused}`)
    this.#content = content.slice()
    if (vmstate.byteLength === 0) return
    const loaded = new Uint8Array(vmstate.byteLength)
    await this.#drive(loadVmstate(node, 0, loaded))
    expectSame(loaded, vmstate, `the VM state of ${name}`)
  }

  async #delete(which: number): Promise<void> {
    const name = [...this.#snapshots.keys()][which]
    if (name === undefined) return
    const { node } = this.#world.rig
    await this.#quiet((main, quiet) => deleteSnapshot(main, quiet, node, { name }))
    this.#snapshots.delete(name)
  }

  async #addBitmap(granularity: number, wanted: boolean): Promise<void> {
    const persistent = wanted && this.#limits.version >= 3
    const name = `b${this.#serial++}`
    const { graph, node } = this.#world.rig
    await this.#drive(graph.mainLoop(async (main) => addDirtyBitmap(main, node, { name, granularity, persistent })))
    this.#bitmaps.set(name, { granularity, persistent, changed: [] })
  }

  async #removeBitmap(which: number): Promise<void> {
    const name = [...this.#bitmaps.keys()][which]
    const { graph, node } = this.#world.rig
    const bitmap = name === undefined ? undefined : findDirtyBitmap(node, name)
    if (name === undefined || bitmap === undefined) return
    await this.#drive(graph.mainLoop((main) => removeDirtyBitmap(main, node, bitmap)))
    this.#bitmaps.delete(name)
  }

  async #mergeBitmap(which: number, from: number): Promise<void> {
    const [target, source] = [which, from].map((index) => [...this.#bitmaps][index])
    if (target === undefined || source === undefined || target === source) return
    const { graph, node } = this.#world.rig
    const [bitmap, other] = [findDirtyBitmap(node, target[0]), findDirtyBitmap(node, source[0])]
    if (bitmap === undefined || other === undefined || bitmap === other) return
    await this.#drive(graph.mainLoop(async (main) => mergeDirtyBitmap(main, node, bitmap, [{ node, bitmap: other }])))
    const { granularity, changed } = source[1]
    for (const { offset, bytes, outcome } of changed) {
      const start = offset - (offset % granularity)
      const end = Math.min(Math.ceil((offset + bytes) / granularity) * granularity, this.#content.byteLength)
      if (end > start) target[1].changed.push({ offset: start, bytes: end - start, outcome })
    }
  }

  async #resize({ sixteenths, sectors }: Extract<ImageCommand, { type: 'resize' }>): Promise<void> {
    const { most } = this.#limits
    const length = Math.min(Math.max(Math.floor((most * sixteenths) / 16 / 512) + sectors, 1) * 512, most)
    const refused = await this.#attempt(['ENOTSUP'], () => this.#world.rig.backend.truncate(length))
    if (refused !== undefined) {
      if (this.#limits.version >= 3) throw new Error('a resize is refused')
      return
    }
    const resized = new Uint8Array(length)
    resized.set(this.#content.subarray(0, Math.min(length, this.#content.byteLength)))
    this.#content = resized
    for (const bitmap of this.#bitmaps.values()) cutChanges(bitmap, length)
  }

  async #change(options: number): Promise<void> {
    const { node } = this.#world.rig
    const wanted = { discard: 'unmap', ...this.#world.always, ...OPTION_SETS[options] }
    await this.#quiet((main, quiet) => reopenNodes(main, quiet, [{ node, options: wanted, keepOld: false }]))
  }

  /** Nothing can be written meanwhile, and everything still shows. */
  async #readOnly(): Promise<void> {
    const { node, backend } = this.#world.rig
    await this.#quiet((main) => backend.setPermissions(main, BLK_PERM_CONSISTENT_READ, BLK_PERM_ALL))
    await this.#quiet((main, quiet) => reopenReadOnly(main, quiet, node, true))
    expectSame(await this.#world.readAll(), this.#content, 'the disk, read-only')
    await this.#quiet((main, quiet) => reopenReadOnly(main, quiet, node, false))
    await this.#quiet((main) => backend.setPermissions(main, BLK_PERM_ALL, BLK_PERM_ALL))
  }

  #compareBitmaps(): void {
    const { node } = this.#world.rig
    for (const [name, { granularity, changed }] of this.#bitmaps) {
      const bitmap = findDirtyBitmap(node, name)
      if (bitmap === undefined) throw new Error(`bitmap ${name} is gone`)
      for (let at = 0; at < this.#content.byteLength; at += granularity) {
        const over = changed.filter(({ offset, bytes }) => offset < at + granularity && at < offset + bytes)
        const shown = isDirty(bitmap, at)
        if (shown && over.length === 0) throw new Error(`bitmap ${name} is dirty at ${at}`)
        if (!shown && over.some(({ outcome }) => outcome === 'done')) throw new Error(`bitmap ${name} misses ${at}`)
      }
    }
  }

  #quiet(act: (main: MainLoop, quiet: DrainedSection) => Promise<void>): Promise<void> {
    const { graph, node } = this.#world.rig
    return this.#drive(graph.mainLoop((main) => withDrained([node], (quiet) => act(main, quiet))))
  }

  /** Undefined where it is done, the code where it is refused with one of `codes`. */
  async #attempt(codes: readonly string[], act: () => Promise<void>): Promise<string | undefined> {
    try {
      await this.#drive(act())
      return undefined
    } catch (error) {
      if (error instanceof BlockError && codes.includes(error.code)) return error.code
      throw error
    }
  }

  #drive<T>(promise: Promise<T>): Promise<T> {
    return this.#world.order.drive(promise)
  }
}

/** A bit whose range is cut stays set. */
function cutChanges(bitmap: BitmapModel, length: number): void {
  const { granularity } = bitmap
  bitmap.changed = bitmap.changed
    .map(({ offset, bytes, outcome }) => {
      const start = offset - (offset % granularity)
      return { offset: start, bytes: Math.min(offset + bytes, length) - start, outcome }
    })
    .filter(({ bytes }) => bytes > 0)
}

function expectSame(shown: Uint8Array, wanted: Uint8Array, what: string): void {
  if (shown.byteLength !== wanted.byteLength) {
    throw new Error(`${what}: ${shown.byteLength} bytes, not ${wanted.byteLength}`)
  }
  const at = shown.findIndex((byte, index) => byte !== wanted[index])
  if (at >= 0) throw new Error(`${what}: ${shown[at]} at ${at}, not ${wanted[at]}`)
}
