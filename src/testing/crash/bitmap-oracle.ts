// Persistent bitmaps after a crash: one that counts as consistent misses no change since it was made or since what it was merged
// from was. Whether it is inconsistent, or gone, is the image's affair; without a crash, what the image was closed with is there, and
// what was removed before a flush is gone in any case.

import { sameBytes } from './compare-bytes.js'
import type { FoundBitmap } from './image-bitmaps.js'

type SectorContent = Uint8Array

/** What the disk showed when an image was closed: for each sector the contents it may have had. */
export type ClosedContents = readonly (readonly SectorContent[])[]

interface KnownBitmap {
  /** Sectors changed by operations that were acknowledged while it recorded, and those merged into it. */
  readonly dirty: Set<number>
  /** `dirty` when the image was last closed, and what the disk showed then. */
  stored: { dirty: ReadonlySet<number>; contents: ClosedContents } | undefined
  /** `dirty` when a close began that is not over. */
  closing: ReadonlySet<number> | undefined
  removal: 'none' | 'submitted' | 'settled'
  removedAt: number
}

/** What is known of bitmaps by name; a name is used once. */
export class BitmapOracle {
  readonly #known = new Map<string, KnownBitmap>()

  /** A bitmap is being added. */
  add(name: string): void {
    this.#known.set(name, {
      dirty: new Set(),
      stored: undefined,
      closing: undefined,
      removal: 'none',
      removedAt: Number.POSITIVE_INFINITY,
    })
  }

  /** A bitmap is being removed. */
  remove(name: string): void {
    const known = this.#known.get(name)
    if (known !== undefined) known.removal = 'submitted'
  }

  /** It was removed, as acknowledged at `serial`. */
  removed(name: string, serial: number): void {
    const known = this.#known.get(name)
    if (known !== undefined) known.removedAt = serial
  }

  /** One was merged into another. */
  merged(target: string, source: string): void {
    const into = this.#known.get(target)
    for (const index of this.#known.get(source)?.dirty ?? []) into?.dirty.add(index)
  }

  /** A change of some sectors was acknowledged. */
  changed(from: number, to: number): void {
    for (const { dirty, removal } of this.#known.values()) {
      if (removal !== 'none') continue
      for (let index = from; index < to; index++) dirty.add(index)
    }
  }

  /** The image is being closed. */
  close(): void {
    for (const known of this.#known.values()) known.closing = new Set(known.dirty)
  }

  /** It is closed, and showed `contents`. */
  closed(contents: ClosedContents): void {
    for (const known of this.#known.values()) {
      if (known.closing === undefined) continue
      known.stored = { dirty: known.closing, contents }
      known.closing = undefined
    }
  }

  /** A flush that began at `serial` is over; whether anything is certain that was not. */
  settle(serial: number): boolean {
    let settled = false
    for (const known of this.#known.values()) {
      if (known.removal !== 'submitted' || known.removedAt >= serial) continue
      known.removal = 'settled'
      settled = true
    }
    return settled
  }

  /** What is wrong with the bitmaps found, of a disk that shows `sectorAt`; undefined where nothing is. */
  judge(
    found: ReadonlyMap<string, FoundBitmap> | undefined,
    which: 'allowed' | 'live',
    sectorAt: (index: number) => SectorContent,
  ): string | undefined {
    if (found === undefined) return undefined
    for (const name of found.keys()) {
      const known = this.#known.get(name)
      if (known === undefined) return `there is a bitmap '${name}' that nobody added`
      if (known.removal === 'settled') return `bitmap '${name}' was removed and is there`
    }
    for (const [name, known] of this.#known) {
      const bitmap = found.get(name)
      if (bitmap === undefined) {
        if (which === 'live' && known.stored !== undefined && known.removal === 'none')
          return `bitmap '${name}' is missing`
        continue
      }
      const missed = bitmap.inconsistent ? undefined : missedSector(known, bitmap, sectorAt)
      if (missed !== undefined) return `bitmap '${name}' misses a change of sector ${missed}`
    }
    return undefined
  }
}

function missedSector(
  { dirty, stored, closing }: KnownBitmap,
  bitmap: FoundBitmap,
  sectorAt: (index: number) => SectorContent,
): number | undefined {
  for (const index of stored?.dirty ?? closing ?? dirty) if (!bitmap.isDirty(index)) return index
  // What came later may have been lost; what is seen of it has to be in the bitmap.
  for (const [index, contents] of stored?.contents.entries() ?? []) {
    if (bitmap.isDirty(index)) continue
    const now = sectorAt(index)
    if (!contents.some((one) => sameBytes(one, now))) return index
  }
  return undefined
}
