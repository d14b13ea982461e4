// What the guest may find after a crash, sector by sector: what was acknowledged before a completed flush reads back; a sector
// with unflushed operations reads as its old or its new content or as zeroes; a discard leaves the old content or zeroes.

import { BDRV_SECTOR_SIZE } from '../../common/limits.js'
import type { Offset } from '../../common/units.js'
import { BitmapOracle } from './bitmap-oracle.js'
import { isZero, sameBytes } from './compare-bytes.js'
import { describeOperation, type GuestEvent, type GuestLog, type GuestOperation } from './guest-log.js'
import { History, type Operation } from './history.js'
import type { FoundBitmap } from './image-bitmaps.js'
import type { FoundSnapshot } from './image-snapshots.js'
import { SnapshotOracle } from './snapshot-oracle.js'

const ZEROES = new Uint8Array(BDRV_SECTOR_SIZE)

/** A sector's content; never changed. */
export type SectorContent = Uint8Array

/** What a disk shows after a crash, as far as the oracle judges it. */
export interface GuestView {
  content: Uint8Array
  /** By name; undefined where the format has none or they were not looked at. */
  snapshots?: ReadonlyMap<string, FoundSnapshot> | undefined
  bitmaps?: ReadonlyMap<string, FoundBitmap> | undefined
}

/** Follows a log and says what may be found. */
export class GuestOracle {
  readonly #snapshots = new SnapshotOracle()
  readonly #bitmaps = new BitmapOracle()
  readonly #log: GuestLog
  readonly #sectors: History<SectorContent>[] = []
  readonly #length: History<Offset>
  readonly #flights = new Map<number, Flight>()
  #next = 0
  #generation = 0

  /** `initial` is what the disk shows, for certain, before the log begins. */
  constructor(log: GuestLog, initial: Uint8Array) {
    this.#log = log
    this.#length = new History<Offset>(initial.byteLength)
    for (let at = 0; at < initial.byteLength; at += BDRV_SECTOR_SIZE) {
      this.#sectors.push(sectorHistory(sectorOf(initial, at).slice()))
    }
  }

  /** Rises whenever more is asked than before: a state that was judged earlier has to be judged again. */
  get generation(): number {
    return this.#generation
  }

  /** Takes in what happened before `serial`. */
  advance(serial: number): void {
    const { events } = this.#log
    for (let event = events[this.#next]; event !== undefined && event.serial < serial; event = events[this.#next]) {
      this.#next++
      this.#take(event)
    }
  }

  /** What is wrong with what a disk shows after a crash; undefined where nothing is. */
  judge(view: GuestView): string | undefined {
    return this.#judge(view, 'allowed')
  }

  /** What is wrong with what a disk shows that saw no crash. */
  judgeLive(view: GuestView): string | undefined {
    return this.#judge(view, 'live')
  }

  #judge(view: GuestView, which: 'allowed' | 'live'): string | undefined {
    const { content } = view
    const lengths = this.#length[which]()
    if (!lengths.includes(content.byteLength)) {
      return `the disk has ${content.byteLength} bytes; it may have ${lengths.join(' or ')}`
    }
    for (let at = 0; at < content.byteLength; at += BDRV_SECTOR_SIZE) {
      const found = sectorOf(content, at)
      const history = this.#sector(at / BDRV_SECTOR_SIZE)
      if (which === 'allowed' && history.unsettled && isZero(found)) continue
      const wanted = history[which]()
      if (!wanted.some((one) => sameBytes(one, found))) {
        return `sector ${at / BDRV_SECTOR_SIZE} reads as ${this.#describe(found)}; it may be ${wanted.map((one) => this.#describe(one)).join(' or ')}`
      }
    }
    return (
      this.#snapshots.judge(view.snapshots, which, (sector) => this.#describe(sector)) ??
      this.#bitmaps.judge(view.bitmaps, which, (index) => sectorOf(content, index * BDRV_SECTOR_SIZE))
    )
  }

  #take({ id, what, serial }: GuestEvent): void {
    const operation = this.#log.operations[id]
    if (operation === undefined) throw new Error(`no operation ${id}`)
    if (what === 'submitted') {
      this.#flights.set(id, this.#submit(operation, serial))
      return
    }
    const flight = this.#flights.get(id)
    this.#flights.delete(id)
    if (what === 'failed' || flight === undefined) return
    for (const effect of flight.effects) effect.operation.acknowledged = serial
    if ('fua' in operation && operation.fua) {
      for (const { history, operation: one } of flight.effects) if (history.settleOne(one)) this.#generation++
    }
    this.#acknowledge(operation, flight.serial, serial)
  }

  #acknowledge(operation: GuestOperation, submitted: number, serial: number): void {
    switch (operation.kind) {
      case 'flush':
        this.#settle(submitted)
        break
      case 'close':
        this.#settle(submitted)
        this.#bitmaps.closed(this.#sectors.map((history) => history.live()))
        break
      case 'write':
        this.#bitmaps.changed(...sectorsOf(operation.offset, operation.data.byteLength))
        break
      case 'zero':
        this.#bitmaps.changed(...sectorsOf(operation.offset, operation.bytes))
        break
      case 'bitmap-remove':
        this.#bitmaps.removed(operation.name, serial)
        break
      case 'bitmap-merge':
        this.#bitmaps.merged(operation.name, operation.from)
        break
      default:
    }
  }

  /** A flush that began at `serial` is over. */
  #settle(serial: number): void {
    let settled = this.#snapshots.settle(serial)
    if (this.#bitmaps.settle(serial)) settled = true
    if (this.#length.settle(serial)) settled = true
    for (const history of this.#sectors) if (history.settle(serial)) settled = true
    if (settled) this.#generation++
  }

  #submit(operation: GuestOperation, serial: number): Flight {
    const flight = new Flight(serial)
    switch (operation.kind) {
      case 'write':
        this.#each(operation.offset, operation.data.byteLength, flight, (index) => writeOf(operation, index))
        break
      case 'zero':
        this.#each(operation.offset, operation.bytes, flight, (index) => zeroOf(operation, index))
        break
      case 'discard':
        this.#each(operation.offset, operation.bytes, flight, () => (before) => [before, ZEROES])
        break
      case 'resize':
        this.#resize(operation.length, flight)
        break
      case 'snapshot-create':
        this.#snapshots.create(operation.name, flight, this.#sectors, this.#length)
        break
      case 'snapshot-delete':
        this.#snapshots.remove(operation.name, flight)
        break
      case 'snapshot-apply':
        this.#applySnapshot(operation.name, flight)
        break
      case 'bitmap-add':
        this.#bitmaps.add(operation.name)
        break
      case 'bitmap-remove':
        this.#bitmaps.remove(operation.name)
        break
      case 'close':
        this.#bitmaps.close()
        break
      default:
    }
    return flight
  }

  #each(offset: Offset, bytes: number, flight: Flight, effect: (index: number) => Effect): void {
    const [first, end] = sectorsOf(offset, bytes)
    for (let index = first; index < end; index++) {
      flight.affect(this.#sector(index), effect(index))
    }
  }

  /** What is cut reads as zeroes when the disk grows again. */
  #resize(length: Offset, flight: Flight): void {
    flight.affect(this.#length, () => [length])
    for (let index = length / BDRV_SECTOR_SIZE; index < this.#sectors.length; index++) {
      flight.affect(this.#sector(index), () => [ZEROES])
    }
  }

  #applySnapshot(name: string, flight: Flight): void {
    const { contents, lengths } = this.#snapshots.contentsOf(name)
    flight.affect(this.#length, () => lengths)
    for (let index = 0; index < Math.max(contents.length, this.#sectors.length); index++) {
      flight.affect(this.#sector(index), () => contents[index] ?? [ZEROES])
    }
  }

  #sector(index: number): History<SectorContent> {
    while (this.#sectors.length <= index) this.#sectors.push(sectorHistory(ZEROES))
    return this.#sectors[index] ?? sectorHistory(ZEROES)
  }

  /** Whose data it is, where it is an operation's. */
  #describe(content: SectorContent): string {
    if (isZero(content)) return 'zeroes'
    for (const [id, operation] of this.#log.operations.entries()) {
      if (operation.kind !== 'write') continue
      const first = Math.ceil(operation.offset / BDRV_SECTOR_SIZE)
      const end = Math.floor((operation.offset + operation.data.byteLength) / BDRV_SECTOR_SIZE)
      for (let index = first; index < end; index++) {
        if (sameBytes(sectorOf(operation.data, index * BDRV_SECTOR_SIZE - operation.offset), content)) {
          return `sector ${index} of operation ${id} (${describeOperation(operation)})`
        }
      }
    }
    return `[${[...content.subarray(0, 16)].map((byte) => byte.toString(16).padStart(2, '0')).join(' ')} ...]`
  }
}

/** What an operation may make of a content. */
type Effect = (before: SectorContent) => readonly SectorContent[]

/** An operation on its way, and everything it changes. */
export class Flight {
  readonly serial: number
  readonly effects: { history: Settling; operation: Operation<never> }[] = []

  constructor(serial: number) {
    this.serial = serial
  }

  /** Adds a value that the operation changes. */
  affect<T>(history: History<T>, apply: (before: T) => readonly T[]): void {
    const operation: Operation<T> = { serial: this.serial, acknowledged: undefined, apply }
    history.submit(operation)
    this.effects.push({ history: history as unknown as Settling, operation: operation as unknown as Operation<never> })
  }
}

/** A history whose values nobody asks for. */
interface Settling {
  settleOne(operation: Operation<never>): boolean
}

function writeOf({ offset, data }: Extract<GuestOperation, { kind: 'write' }>, index: number): Effect {
  const at = index * BDRV_SECTOR_SIZE
  if (at >= offset && at + BDRV_SECTOR_SIZE <= offset + data.byteLength) {
    const content = data.slice(at - offset, at - offset + BDRV_SECTOR_SIZE)
    return () => [content]
  }
  return (before) => [patched(before, at, offset, data)]
}

function zeroOf({ offset, bytes }: Extract<GuestOperation, { kind: 'zero' }>, index: number): Effect {
  const at = index * BDRV_SECTOR_SIZE
  if (at >= offset && at + BDRV_SECTOR_SIZE <= offset + bytes) return () => [ZEROES]
  return (before) => [patched(before, at, offset, new Uint8Array(bytes))]
}

function patched(before: SectorContent, at: Offset, offset: Offset, data: Uint8Array): SectorContent {
  const after = before.slice()
  const from = Math.max(offset, at)
  const to = Math.min(offset + data.byteLength, at + BDRV_SECTOR_SIZE)
  after.set(data.subarray(from - offset, to - offset), from - at)
  return after
}

function sectorHistory(content: SectorContent): History<SectorContent> {
  return new History<SectorContent>(content, sameBytes)
}

/** The first sector a range touches, and the one behind the last. */
function sectorsOf(offset: Offset, bytes: number): [number, number] {
  return [Math.floor(offset / BDRV_SECTOR_SIZE), Math.ceil((offset + bytes) / BDRV_SECTOR_SIZE)]
}

/** A whole sector of `content`, zeroes behind its end. */
function sectorOf(content: Uint8Array, at: Offset): SectorContent {
  const part = content.subarray(at, at + BDRV_SECTOR_SIZE)
  if (part.byteLength === BDRV_SECTOR_SIZE) return part
  const whole = new Uint8Array(BDRV_SECTOR_SIZE)
  whole.set(part)
  return whole
}
