// What is told of an image: collected from its node, as data for programs, as text for people.

import type { SnapshotInfo } from '../../common/block-info.js'
import { fullBackingFilename } from '../../common/filename.js'
import { nodeFilename } from '../../global-state/node-filename.js'
import { canSnapshot, listSnapshots } from '../../global-state/snapshot.js'
import { allocatedSize, nodeInfo, nodeSpecificInfo } from '../../io/node-info.js'
import { formatFacts, virtualSize } from '../image-data.js'
import { spacedJsonName } from '../json-text.js'
import type { OpenImage } from '../session.js'
import { formatSize } from '../sizes.js'
import { snapshotData, snapshotTable } from '../snapshot-text.js'
import { specificInfoText } from '../specific-info.js'
import { printable } from '../tool.js'

/** What is told of an image; keys as in management interfaces. */
export interface ImageInfo {
  snapshots?: readonly SnapshotInfo[]
  'backing-filename-format'?: string
  'virtual-size': number
  filename: string
  'cluster-size'?: number
  format: string
  'actual-size'?: number
  'format-specific'?: Record<string, unknown>
  /** The backing file as it is found from here. */
  'full-backing-filename'?: string
  /** The backing file as the image names it. */
  'backing-filename'?: string
  encrypted?: boolean
  'dirty-flag'?: boolean
}

/** Collects what is known of an open image. */
export async function imageInfo(image: OpenImage): Promise<ImageInfo> {
  const { node } = image
  const actual = await known(() => allocatedSize(node))
  const details = await known(() => formatFacts(node))
  const own = await known(() => nodeInfo(node))
  const specific = await known(() => nodeSpecificInfo(node))
  const clusterSize = details?.clusterSize ?? 0
  const snapshots = canSnapshot(node) ? listSnapshots(node) : []
  const filename = nodeFilename(node)
  return {
    ...(snapshots.length === 0 ? {} : { snapshots }),
    'virtual-size': virtualSize(image),
    filename: spacedJsonName(filename),
    ...(clusterSize === 0 ? {} : { 'cluster-size': clusterSize }),
    format: node.driver.name,
    ...(actual === undefined ? {} : { 'actual-size': actual }),
    ...(specific === undefined ? {} : { 'format-specific': specific }),
    ...backingInfo(filename, own?.backing),
    ...(own?.isEncrypted === true ? { encrypted: true } : {}),
    ...(details === undefined ? {} : { 'dirty-flag': details.isDirty }),
  }
}

function backingInfo(
  image: string,
  backing: { filename: string; format: string | undefined } | undefined,
): Pick<ImageInfo, 'backing-filename' | 'full-backing-filename' | 'backing-filename-format'> {
  if (backing === undefined) return {}
  const full = fullName(image, backing.filename)
  return {
    ...(backing.format === undefined ? {} : { 'backing-filename-format': backing.format }),
    ...(full === undefined ? {} : { 'full-backing-filename': full }),
    'backing-filename': backing.filename,
  }
}

/** Undefined where a relative name has nothing to be relative to. */
function fullName(image: string, backing: string): string | undefined {
  try {
    return fullBackingFilename(image, backing)
  } catch {
    return undefined
  }
}

/** What a driver cannot tell is left out. */
async function known<T>(ask: () => Promise<T>): Promise<T | undefined> {
  try {
    return await ask()
  } catch {
    return undefined
  }
}

/** What is told to programs. */
export function infoData(found: ImageInfo): Record<string, unknown> {
  const { snapshots, ...others } = found
  return { ...(snapshots === undefined ? {} : { snapshots: snapshots.map(snapshotData) }), ...others }
}

/** The text for people. */
export function infoText(found: ImageInfo): string {
  const size = found['virtual-size']
  const actual = found['actual-size']
  const cluster = found['cluster-size']
  const specific = found['format-specific']
  const { snapshots, encrypted } = found
  const lines = [
    `image: ${printable(found.filename)}`,
    `file format: ${found.format}`,
    `virtual size: ${formatSize(size)} (${size} bytes)`,
    `disk size: ${actual === undefined ? 'unavailable' : formatSize(actual)}`,
    ...(encrypted === true ? ['encrypted: yes'] : []),
    ...(cluster === undefined ? [] : [`cluster_size: ${cluster}`]),
    ...(found['dirty-flag'] === true ? ['cleanly shut down: no'] : []),
    ...backingLines(found),
  ]
  const table = snapshots === undefined ? '' : snapshotTable(snapshots)
  return `${lines.join('\n')}\n${table}${specific === undefined ? '' : specificInfoText(specific)}`
}

function backingLines(found: ImageInfo): string[] {
  const name = found['backing-filename']
  const full = found['full-backing-filename']
  const format = found['backing-filename-format']
  if (name === undefined) return []
  let line = `backing file: ${printable(name)}`
  if (full === undefined) line += ' (cannot determine actual path)'
  else if (full !== name) line += ` (actual path: ${printable(full)})`
  return [line, ...(format === undefined ? [] : [`backing file format: ${printable(format)}`])]
}
