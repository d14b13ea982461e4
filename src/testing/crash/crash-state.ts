// What the storages hold after a crash: the certain part, and of the window what a choice says.

import { BDRV_SECTOR_SIZE } from '../../common/limits.js'
import type { Offset } from '../../common/units.js'
import { applyChange, applyPart, type ChangeEntry, lengthAfter, rangeOf } from './change.js'
import type { CrashChoice } from './crash-choices.js'
import type { CrashPoint, WindowMember } from './crash-points.js'
import type { SectorImage } from './sector-image.js'

/** The images of all storages after a crash at `point`; those without a window are the point's own. */
export function crashState(point: CrashPoint, choice: CrashChoice): ReadonlyMap<string, SectorImage> {
  const images = new Map(point.base)
  const lengths = new Map<string, Offset>()
  for (const { entry, forced } of point.window) {
    const { node } = entry
    const base = imageOf(point.base, node)
    if (images.get(node) === base) images.set(node, base.clone())
    const length = lengths.get(node) ?? base.length
    lengths.set(node, forced || choice.lengths === 'kept' ? lengthAfter(length, entry) : length)
  }
  for (const index of orderOf(point.window, choice.swapped)) {
    const member = point.window[index]
    if (member !== undefined) applyMember(images, member, choice.kept[index] ?? false)
  }
  for (const [node, length] of lengths) imageOf(images, node).resize(length)
  return images
}

/** One name for equal states. */
export function stateKey(images: ReadonlyMap<string, SectorImage>): string {
  return [...images.values()].map(({ key }) => key).join('/')
}

function applyMember(
  images: ReadonlyMap<string, SectorImage>,
  { entry, forced }: WindowMember,
  kept: CrashChoice['kept'][number],
): void {
  const image = imageOf(images, entry.node)
  if (forced || kept === true) applyChange(image, entry)
  else if (kept !== false) for (const part of kept) applyPart(image, entry, part)
}

function orderOf(window: readonly WindowMember[], swapped: number | undefined): number[] {
  const order = Array.from(window, (_, index) => index)
  if (swapped === undefined) return order
  const [first, second] = [window[swapped], window[swapped + 1]]
  if (first === undefined || second === undefined || replaces(second.entry, first.entry)) return order
  order[swapped] = swapped + 1
  order[swapped + 1] = swapped
  return order
}

/** Whether `later` began when `earlier` was done, in a sector of it: the disk does not go back to what it was given before. */
function replaces(later: ChangeEntry, earlier: ChangeEntry): boolean {
  if (later.node !== earlier.node || earlier.doneSerial === undefined || earlier.doneSerial > later.serial) return false
  const [a, b] = [sectorsOf(earlier), sectorsOf(later)]
  return a.first < b.end && b.first < a.end
}

function sectorsOf(entry: ChangeEntry): { first: number; end: number } {
  const { offset, bytes } = rangeOf(entry)
  return { first: Math.floor(offset / BDRV_SECTOR_SIZE), end: Math.ceil((offset + bytes) / BDRV_SECTOR_SIZE) }
}

function imageOf(images: ReadonlyMap<string, SectorImage>, node: string): SectorImage {
  const image = images.get(node)
  if (image === undefined) throw new Error(`no image of storage '${node}'`)
  return image
}
