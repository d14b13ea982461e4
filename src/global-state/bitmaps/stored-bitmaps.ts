// Persistent bitmaps and the image that keeps them: loaded when a node begins to be used, stored when that ends. What a driver
// has to say of them is asked here alone.

import { BlockError, toBlockError } from '../../common/error.js'
import type { BlockDriverState } from '../../io/block-node.js'
import { setBitmaps } from '../../io/gates.js'
import type { BitmapSupport } from '../driver.js'
import { NodeState } from '../node-state.js'

/** Whether the image of `node` can keep bitmaps. */
export function keepsBitmaps(node: BlockDriverState): boolean {
  const image = imageOf(node)
  return image?.support.supported(image.state) === true
}

/** Throws where `node` cannot store a bitmap of this name and granularity (bytes): ENOTSUP, or EINVAL and why. */
export function refuseUnstorable(node: BlockDriverState, name: string, granularity: number): void {
  const image = imageOf(node)
  if (image === undefined) {
    throw new BlockError('ENOTSUP', `Can't store persistent bitmaps to ${node.nodeName}: Operation not supported`, {
      node: node.nodeName,
      op: 'bitmap',
    })
  }
  try {
    image.support.refuseUnstorable(image.state, name, granularity)
  } catch (thrown) {
    const { code, message } = toBlockError(thrown)
    throw new BlockError(code, `Can't make bitmap '${name}' persistent in '${node.nodeName}': ${message}`, {
      node: node.nodeName,
      op: 'bitmap',
      cause: thrown,
    })
  }
}

/** Takes a bitmap out of the image, if it is stored there. The node is writable. */
export async function removeStored(node: BlockDriverState, name: string): Promise<void> {
  const image = imageOf(node)
  await image?.support.remove(image.state, name)
}

/** Gives a node that has just been opened or activated the bitmaps that its image keeps. */
export async function loadStored(node: NodeState): Promise<void> {
  const image = imageOf(node)
  if (image === undefined || node.inactive) return
  const loaded = await image.support.load(image.state)
  if (loaded.length > 0) setBitmaps(node, [...node.state.bitmaps, ...loaded])
}

/** Writes the persistent bitmaps of a node that is about to be closed, inactive or read-only. */
export async function storeAll(node: NodeState): Promise<void> {
  const image = imageOf(node)
  if (image === undefined || node.readOnly || node.inactive) return
  await image.support.store(image.state)
}

/** Forgets the persistent bitmaps of a node that is handed over: whoever owns the image now changes them. */
export function forgetStored(node: NodeState): void {
  if (imageOf(node) === undefined) return
  setBitmaps(
    node,
    node.state.bitmaps.filter((bitmap) => !bitmap.persistent),
  )
}

/** The stored bitmaps of a node that is read-only now forbid what they could not record. */
export function freezeStored(node: NodeState): void {
  if (imageOf(node) === undefined) return
  for (const bitmap of node.state.bitmaps) if (bitmap.persistent && !bitmap.inconsistent) bitmap.readonly = true
}

/** The bitmaps of a node that is writable now record again. Where the image cannot be told, they go on to forbid writes. */
export async function thawStored(node: NodeState): Promise<void> {
  const image = imageOf(node)
  if (image === undefined || !node.state.bitmaps.some((bitmap) => bitmap.persistent)) return
  await image.support.markInUse(image.state)
  for (const bitmap of node.state.bitmaps) if (bitmap.persistent) bitmap.readonly = false
}

function imageOf(node: BlockDriverState): { support: BitmapSupport<unknown>; state: unknown } | undefined {
  if (!(node instanceof NodeState) || !node.opened || node.definition.bitmaps === undefined) return undefined
  return { support: node.definition.bitmaps, state: node.driverState }
}
