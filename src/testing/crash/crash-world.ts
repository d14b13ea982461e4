// One run of a workload: the image on storages in memory, whose every change is recorded, and a log of what the guest asked for
// and was told.

import { BlockError } from '../../common/error.js'
import { BDRV_SECTOR_SIZE } from '../../common/limits.js'
import { BDRV_REQ_FUA, BDRV_REQ_MAY_UNMAP, BDRV_REQ_WRITE_COMPRESSED, type RequestFlags } from '../../common/request.js'
import { alignDown, type Offset } from '../../common/units.js'
import { type FaultPlan, faultDriver } from '../storage/faults.js'
import { ChunkStore } from '../storage/memory-storage.js'
import { Recording, recordingDriver } from '../storage/recording.js'
import type { CrashCommand } from './crash-commands.js'
import {
  type CrashDisk,
  type CrashOperation,
  type CrashTarget,
  closeCrashDisk,
  emptyStores,
  type NodeOptions,
  openCrashDisk,
  readDisk,
} from './crash-target.js'
import { GuestLog, type GuestOperation } from './guest-log.js'
import { addBitmap, mergeBitmaps, removeBitmap } from './image-bitmaps.js'
import { dropSnapshot, revertToSnapshot, takeSnapshot } from './image-snapshots.js'
import { SectorImage } from './sector-image.js'

/** What every error of a command is shown to; it throws where the error should not have come. */
export type ErrorJudge = (error: BlockError, command: CrashCommand) => void

/** A target at work. */
export class CrashWorld {
  readonly target: CrashTarget
  readonly recording = new Recording()
  readonly log = new GuestLog(this.recording)
  readonly stores: ReadonlyMap<string, ChunkStore>
  /** What the storages held when the recording began. */
  readonly initial: ReadonlyMap<string, SectorImage>
  /** What the guest saw then. */
  readonly content: Uint8Array
  readonly #plan: FaultPlan | undefined
  /** Names in use. */
  readonly #snapshots: string[] = []
  readonly #bitmaps: string[] = []
  #disk: CrashDisk | undefined
  /** Names given so far. */
  #named = 0

  private constructor(
    target: CrashTarget,
    stores: ReadonlyMap<string, ChunkStore>,
    content: Uint8Array,
    plan: FaultPlan | undefined,
  ) {
    this.target = target
    this.stores = stores
    this.initial = imagesOf(stores)
    this.content = content
    this.#plan = plan
  }

  /** A new image, open. With `plan` the lower calls pass a filter that does the damage it says, from the open on. */
  static async create(target: CrashTarget, plan?: FaultPlan): Promise<CrashWorld> {
    const stores = emptyStores(target, () => new ChunkStore(0))
    await target.create(stores)
    // The image as a careful user finds it: opened once, looked at, closed.
    const first = await openCrashDisk(target, stores)
    const content = await readDisk(first)
    await closeCrashDisk(first)
    const world = new CrashWorld(target, stores, content, plan)
    await world.open()
    return world
  }

  /** The open image. */
  get disk(): CrashDisk {
    if (this.#disk === undefined) throw new Error('the image is not open')
    return this.#disk
  }

  get isOpen(): boolean {
    return this.#disk !== undefined
  }

  /** Opens the image through the recording nodes. */
  async open(): Promise<void> {
    const drivers = [recordingDriver(this.recording)]
    if (this.#plan !== undefined) drivers.push(faultDriver(this.#plan))
    const wrap = (name: string, storage: NodeOptions): NodeOptions => {
      const recorded = { driver: 'recording', 'node-name': name, file: storage }
      return this.#plan === undefined ? recorded : { driver: 'fault', file: recorded }
    }
    this.#disk = await openCrashDisk(this.target, this.stores, { drivers, wrap })
  }

  /** Closes the image. What was acknowledged is then as certain as after a flush. */
  async close(): Promise<void> {
    const { disk } = this
    await this.log.run({ kind: 'close' }, async () => {
      this.#disk = undefined
      await closeCrashDisk(disk)
    })
  }

  /** Carries out one command; errors go to `judge`, which by default passes what a healthy image may refuse. */
  async perform(
    command: CrashCommand,
    judge: ErrorJudge = (error) => this.#passRefusals(error, command),
  ): Promise<void> {
    try {
      await this.#perform(command)
    } catch (error) {
      if (!(error instanceof BlockError)) throw error
      judge(error, command)
    }
  }

  #passRefusals(error: BlockError, command: CrashCommand): void {
    if (error.code !== 'ENOTSUP' && this.target.refuses?.(command, error.code) !== true) throw error
  }

  async #perform(command: CrashCommand): Promise<void> {
    switch (command.type) {
      case 'write':
        return await this.#write(this.#sectors(command.sector, command.sectors), command.fua ? BDRV_REQ_FUA : 0)
      case 'patch':
        return await this.#write(this.#clip(command.offset, command.bytes), 0)
      case 'compressed':
        return await this.#compressed(command.cluster, command.fua)
      case 'zero':
        return await this.#zero(command)
      case 'discard':
        return await this.#discard(command)
      case 'flush':
        return await this.log.run({ kind: 'flush' }, () => this.disk.backend.flush())
      case 'parallel':
        return await this.#parallel(command)
      case 'resize': {
        const length = command.sectors * BDRV_SECTOR_SIZE
        return await this.log.run({ kind: 'resize', length }, () => this.disk.backend.truncate(length))
      }
      case 'reopen':
        await this.close()
        return await this.open()
      case 'bitmap-add':
      case 'bitmap-remove':
      case 'bitmap-merge':
        return await this.#bitmap(command)
      case 'operation':
        return await this.#operate(command.operation)
      default:
        return await this.#snapshot(command)
    }
  }

  async #write(range: Range, flags: RequestFlags): Promise<void> {
    if (range.bytes === 0) return
    const data = patternOf(this.log.operations.length, range.offset, range.bytes)
    const operation: GuestOperation = {
      kind: 'write',
      offset: range.offset,
      data: data.slice(),
      fua: (flags & BDRV_REQ_FUA) !== 0,
    }
    await this.log.run(operation, () => this.disk.backend.write(range.offset, data, { flags }))
  }

  async #compressed(cluster: number, fua: boolean): Promise<void> {
    const { clusterBytes } = this.target
    const offset = alignDown(this.#clip(cluster * clusterBytes, 1).offset, clusterBytes)
    const bytes = Math.min(clusterBytes, this.disk.backend.length - offset)
    await this.#write({ offset, bytes }, BDRV_REQ_WRITE_COMPRESSED | (fua ? BDRV_REQ_FUA : 0))
  }

  async #zero(command: Extract<CrashCommand, { type: 'zero' }>): Promise<void> {
    const { offset, bytes } = this.#sectors(command.sector, command.sectors)
    if (bytes === 0) return
    const flags = (command.unmap ? BDRV_REQ_MAY_UNMAP : 0) | (command.fua ? BDRV_REQ_FUA : 0)
    await this.log.run({ kind: 'zero', offset, bytes, fua: command.fua }, () =>
      this.disk.backend.writeZeroes(offset, bytes, { flags }),
    )
  }

  async #discard(command: Extract<CrashCommand, { type: 'discard' }>): Promise<void> {
    const { offset, bytes } = this.#sectors(command.sector, command.sectors)
    if (bytes === 0) return
    await this.log.run({ kind: 'discard', offset, bytes }, () => this.disk.backend.discard(offset, bytes))
  }

  /** Writes to different sectors that are in flight together. */
  async #parallel(command: Extract<CrashCommand, { type: 'parallel' }>): Promise<void> {
    const taken: Range[] = []
    const writes: Promise<void>[] = []
    for (const sector of command.sectors) {
      const range = this.#sectors(sector, command.each)
      if (taken.some((other) => overlap(range, other))) continue
      taken.push(range)
      writes.push(this.#write(range, 0))
    }
    const failed = (await Promise.allSettled(writes)).find(({ status }) => status === 'rejected')
    if (failed?.status === 'rejected') throw failed.reason
  }

  async #snapshot(
    command: Extract<CrashCommand, { type: 'snapshot-create' | 'snapshot-apply' | 'snapshot-delete' }>,
  ): Promise<void> {
    if (command.type === 'snapshot-create') {
      const name = `s${this.#named++}`
      await this.log.run({ kind: command.type, name }, () => takeSnapshot(this.disk, name))
      this.#snapshots.push(name)
      return
    }
    const name = pick(this.#snapshots, command.snapshot)
    if (name === undefined) return
    const act = command.type === 'snapshot-apply' ? revertToSnapshot : dropSnapshot
    await this.log.run({ kind: command.type, name }, () => act(this.disk, name))
    if (command.type === 'snapshot-delete') this.#snapshots.splice(this.#snapshots.indexOf(name), 1)
  }

  async #operate(index: number): Promise<void> {
    const { operations = [] } = this.target
    const operation = operations[index % Math.max(operations.length, 1)]
    if (operation === undefined) return
    await this.log.run(this.#effectOf(operation), () => operation.run(this.disk))
  }

  #effectOf({ name, effect }: CrashOperation): GuestOperation {
    if (effect === undefined) return { kind: 'operation', name }
    if (effect === 'discards') return { kind: 'discard', offset: 0, bytes: this.disk.backend.length }
    return { kind: 'resize', length: effect.length }
  }

  async #bitmap(
    command: Extract<CrashCommand, { type: 'bitmap-add' | 'bitmap-remove' | 'bitmap-merge' }>,
  ): Promise<void> {
    if (command.type === 'bitmap-add') {
      const name = `b${this.#named++}`
      await this.log.run({ kind: command.type, name }, () => addBitmap(this.disk, name))
      this.#bitmaps.push(name)
      return
    }
    const name = pick(this.#bitmaps, command.bitmap)
    if (name === undefined) return
    if (command.type === 'bitmap-merge') {
      const from = pick(this.#bitmaps, command.from) ?? name
      if (from === name) return
      await this.log.run({ kind: command.type, name, from }, () => mergeBitmaps(this.disk, name, from))
      return
    }
    await this.log.run({ kind: command.type, name }, () => removeBitmap(this.disk, name))
    this.#bitmaps.splice(this.#bitmaps.indexOf(name), 1)
  }

  #sectors(sector: number, sectors: number): Range {
    return this.#clip(sector * BDRV_SECTOR_SIZE, sectors * BDRV_SECTOR_SIZE)
  }

  /** A range inside the disk as it is now. */
  #clip(wanted: Offset, bytes: number): Range {
    const { length } = this.disk.backend
    const offset = length === 0 ? 0 : wanted % length
    return { offset, bytes: Math.min(bytes, length - offset) }
  }
}

interface Range {
  offset: Offset
  bytes: number
}

/** What the stores hold. */
export function imagesOf(stores: ReadonlyMap<string, ChunkStore>): ReadonlyMap<string, SectorImage> {
  return new Map([...stores].map(([name, store]) => [name, SectorImage.of(store)]))
}

/** Stores that hold what the images say. */
export function storesOf(images: ReadonlyMap<string, SectorImage>): ReadonlyMap<string, ChunkStore> {
  return new Map([...images].map(([name, image]) => [name, image.toStore()]))
}

/** The item that `index` names, wrapping around. */
function pick(names: readonly string[], index: number): string | undefined {
  return names[index % Math.max(names.length, 1)]
}

function overlap(a: Range, b: Range): boolean {
  return a.offset < b.offset + b.bytes && b.offset < a.offset + a.bytes
}

/** Bytes that tell, in every 16 of them, which operation wrote them to which sector. */
export function patternOf(operation: number, offset: Offset, bytes: number): Uint8Array {
  const data = new Uint8Array(bytes)
  for (let done = 0; done < bytes; ) {
    const sector = Math.floor((offset + done) / BDRV_SECTOR_SIZE)
    const text = `op${String(operation).padStart(5, '0')} s${String(sector).padStart(6, '0')} `
    const end = Math.min((sector + 1) * BDRV_SECTOR_SIZE - offset, bytes)
    for (; done < end; done++) data[done] = text.charCodeAt((offset + done) % text.length)
  }
  return data
}
