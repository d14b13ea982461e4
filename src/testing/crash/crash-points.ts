// When a crash may come, and what is uncertain then. Of each storage everything is certain that was complete when its last
// completed flush began, and every FUA write that is complete; the changes since then are the window, of which any part may
// have reached the disk. What failed stays uncertain until the next flush and counts as not done after it; so does a discard, whose
// range may then show what it held before.

import { BDRV_REQ_FUA } from '../../common/request.js'
import type { RecordEntry, Recording } from '../storage/recording.js'
import { applyChange, type ChangeEntry, isChange } from './change.js'
import type { SectorImage } from './sector-image.js'

/** One change of a window. */
export interface WindowMember {
  readonly entry: ChangeEntry
  /** A complete FUA write: it is on the disk in every state, over whatever the window holds before it. */
  readonly forced: boolean
}

/** A moment at which a crash is looked at: just before a flush completes, or the end of the recording. */
export interface CrashPoint {
  /** Everything with a lower serial number has happened. */
  readonly serial: number
  /** What each storage surely holds, by name of its recording node. */
  readonly base: ReadonlyMap<string, SectorImage>
  /** In the order of submission. */
  readonly window: readonly WindowMember[]
}

/** Every crash point of a recording, in order. `initial` is what the storages held when it began. */
export function* crashPoints(
  recording: Recording,
  initial: ReadonlyMap<string, SectorImage>,
): Generator<CrashPoint, void> {
  let base = initial
  let pending = recording.entries.filter(isChange)
  const flushes = recording.entries
    .filter((entry) => entry.kind === 'flush' && !entry.failed && entry.doneSerial !== undefined)
    .sort((a, b) => doneAt(a) - doneAt(b))
  for (const flush of flushes) {
    yield pointAt(doneAt(flush), base, pending)
    const settled = pending.filter((entry) => entry.node === flush.node && doneAt(entry) < flush.serial)
    if (settled.length === 0) continue
    pending = pending.filter((entry) => !settled.includes(entry))
    base = withEntries(
      base,
      settled.filter(({ failed, kind }) => !failed && kind !== 'discard'),
    )
  }
  yield pointAt(Number.POSITIVE_INFINITY, base, pending)
}

function pointAt(serial: number, base: ReadonlyMap<string, SectorImage>, pending: readonly ChangeEntry[]): CrashPoint {
  const window: WindowMember[] = []
  for (const entry of pending) {
    if (entry.serial >= serial) break
    window.push({ entry, forced: isFua(entry) && !entry.failed && doneAt(entry) < serial })
  }
  return { serial, base, window }
}

function withEntries(
  base: ReadonlyMap<string, SectorImage>,
  entries: readonly ChangeEntry[],
): ReadonlyMap<string, SectorImage> {
  const images = new Map(base)
  for (const entry of entries) {
    const present = images.get(entry.node)
    if (present === undefined) throw new Error(`no initial image of storage '${entry.node}'`)
    const image = present === base.get(entry.node) ? present.clone() : present
    images.set(entry.node, image)
    applyChange(image, entry)
  }
  return images
}

function isFua(entry: ChangeEntry): boolean {
  return (entry.kind === 'write' || entry.kind === 'zero') && (entry.flags & BDRV_REQ_FUA) !== 0
}

function doneAt(entry: RecordEntry): number {
  return entry.doneSerial ?? Number.POSITIVE_INFINITY
}
