// What the storages hold after a crash: the certain part, and of the window what a choice says.

import type { Offset } from '../../common/units.js'
import { applyChange, applyPart, lengthAfter } from './change.js'
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
  for (const index of orderOf(point.window.length, choice.swapped)) {
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

function orderOf(count: number, swapped: number | undefined): number[] {
  const order = Array.from({ length: count }, (_, index) => index)
  if (swapped === undefined || swapped + 1 >= count) return order
  order[swapped] = swapped + 1
  order[swapped + 1] = swapped
  return order
}

function imageOf(images: ReadonlyMap<string, SectorImage>, node: string): SectorImage {
  const image = images.get(node)
  if (image === undefined) throw new Error(`no image of storage '${node}'`)
  return image
}
