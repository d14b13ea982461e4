// Internal snapshots after a crash: one that was created before a completed flush is there, with the content the disk had then;
// one that was deleted before it is gone; in between it may be there or not, and if it is, it holds what was allowed then.

import { BDRV_SECTOR_SIZE } from '../../common/limits.js'
import type { Offset } from '../../common/units.js'
import { sameBytes } from './compare-bytes.js'
import { History } from './history.js'
import type { FoundSnapshot } from './image-snapshots.js'

type SectorContent = Uint8Array

/** An operation that says what it changes. */
interface Affecting {
  affect<T>(history: History<T>, apply: (before: T) => readonly T[]): void
}

interface KnownSnapshot {
  readonly present: History<boolean>
  /** Per sector, what it may hold. Decided when the creation is. */
  readonly contents: History<readonly (readonly SectorContent[])[]>
  readonly lengths: readonly Offset[]
}

/** What is known of snapshots by name; a name is used once. */
export class SnapshotOracle {
  readonly #known = new Map<string, KnownSnapshot>()

  /** A snapshot is being taken of a disk with these sectors. */
  create(
    name: string,
    operation: Affecting,
    sectors: readonly History<SectorContent>[],
    length: History<Offset>,
  ): void {
    const allowed = sectors.map((history) => (history.unsettled ? [...history.allowed(), ZEROES] : history.allowed()))
    const live = sectors.map((history) => history.live())
    const snapshot: KnownSnapshot = {
      present: new History(false),
      contents: new History<readonly (readonly SectorContent[])[]>(allowed),
      lengths: length.live(),
    }
    operation.affect(snapshot.present, () => [true])
    operation.affect(snapshot.contents, () => [live])
    this.#known.set(name, snapshot)
  }

  /** A snapshot is being deleted. */
  remove(name: string, operation: Affecting): void {
    operation.affect(this.#snapshot(name).present, () => [false])
  }

  /** What applying a snapshot may bring back: contents per sector, and lengths. */
  contentsOf(name: string): { contents: readonly (readonly SectorContent[])[]; lengths: readonly Offset[] } {
    const { contents, lengths } = this.#snapshot(name)
    // One that was taken and acknowledged is known; one whose creation failed may hold anything that was allowed.
    const [first = [], ...others] = contents.live()
    const merged = first.map((sector, index) => [...sector, ...others.flatMap((one) => one[index] ?? [])])
    return { contents: merged, lengths }
  }

  /** A flush that began at `serial` is over; whether anything is certain that was not. */
  settle(serial: number): boolean {
    let settled = false
    for (const { present, contents } of this.#known.values()) {
      if (present.settle(serial)) settled = true
      if (contents.settle(serial)) settled = true
    }
    return settled
  }

  /** What is wrong with the snapshots found, where they were looked for; undefined where nothing is. */
  judge(
    found: ReadonlyMap<string, FoundSnapshot> | undefined,
    which: 'allowed' | 'live',
    describe: (content: SectorContent) => string,
  ): string | undefined {
    if (found === undefined) return undefined
    for (const name of found.keys()) if (!this.#known.has(name)) return `there is a snapshot '${name}' that nobody took`
    for (const [name, snapshot] of this.#known) {
      const one = found.get(name)
      const may = snapshot.present[which]()
      if (!may.includes(one !== undefined)) {
        return one === undefined ? `snapshot '${name}' is missing` : `snapshot '${name}' was deleted and is there`
      }
      const fault = one === undefined ? undefined : judgeContent(one, snapshot, which, describe)
      if (fault !== undefined) return `snapshot '${name}': ${fault}`
    }
    return undefined
  }

  #snapshot(name: string): KnownSnapshot {
    const known = this.#known.get(name)
    if (known === undefined) throw new Error(`no snapshot '${name}'`)
    return known
  }
}

const ZEROES = new Uint8Array(BDRV_SECTOR_SIZE)

function judgeContent(
  { content, length }: FoundSnapshot,
  snapshot: KnownSnapshot,
  which: 'allowed' | 'live',
  describe: (content: SectorContent) => string,
): string | undefined {
  if (!snapshot.lengths.includes(length)) {
    return `it has ${length} bytes; it may have ${snapshot.lengths.join(' or ')}`
  }
  const alternatives = snapshot.contents[which]()
  for (let at = 0; at < content.byteLength; at += BDRV_SECTOR_SIZE) {
    const found = content.subarray(at, at + BDRV_SECTOR_SIZE)
    const wanted = alternatives.flatMap((sectors) => sectors[at / BDRV_SECTOR_SIZE] ?? [ZEROES])
    if (!wanted.some((one) => sameBytes(found, one))) {
      return `sector ${at / BDRV_SECTOR_SIZE} reads as ${describe(found)}; it may be ${wanted.map(describe).join(' or ')}`
    }
  }
  return undefined
}
