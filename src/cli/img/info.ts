// info: what is known of an image. Opened read-only and without its backing file.

import type { SnapshotInfo } from '../../common/block-info.js'
import { BDRV_O_NO_BACKING, BDRV_O_NO_IO } from '../../common/open-flags.js'
import { nodeFilename } from '../../global-state/node-filename.js'
import { canSnapshot, listSnapshots } from '../../global-state/snapshot.js'
import { allocatedSize } from '../../io/node-info.js'
import { newCommand, parseCommandLine, repeatedOption } from '../command-line.js'
import { formatFacts, virtualSize } from '../image-data.js'
import {
  checkObjects,
  forceShareOption,
  formatOption,
  type ImageOptionValues,
  imageOptsOption,
  type OutputFormat,
  outputOption,
  refuseFormatWithImageOpts,
} from '../image-options.js'
import { prettyJson, spacedJsonName } from '../json-text.js'
import { openImage } from '../open-image.js'
import { type OpenImage, withSession } from '../session.js'
import { formatSize } from '../sizes.js'
import { snapshotData, snapshotTable } from '../snapshot-text.js'
import { printable, type Tool, usageError } from '../tool.js'

interface Values extends ImageOptionValues {
  output: OutputFormat
  backingChain?: boolean
}

/** What is told of an image; keys as in management interfaces. */
export interface ImageInfo {
  snapshots?: readonly SnapshotInfo[]
  'virtual-size': number
  filename: string
  'cluster-size'?: number
  format: string
  'actual-size'?: number
  'dirty-flag'?: boolean
}

/** Runs `info`. */
export async function info(tool: Tool, args: readonly string[]): Promise<number> {
  const command = newCommand('info')
    .addOption(formatOption())
    .addOption(outputOption())
    .addOption(forceShareOption())
    .addOption(imageOptsOption())
    .addOption(repeatedOption('--object <def>'))
    .option('--backing-chain')
  const { options, operands } = parseCommandLine<Values>(tool, command, args)
  const [name] = operands
  if (name === undefined || operands.length > 1) throw usageError(tool.name, 'Expecting one image file name')
  const secrets = checkObjects(options.object)
  refuseFormatWithImageOpts(options.format, options.imageOpts)
  const found = await withSession(tool, async (session) => {
    session.defineSecrets(secrets)
    const { format, imageOpts, forceShare } = options
    const flags = BDRV_O_NO_BACKING | BDRV_O_NO_IO
    return imageInfo(await openImage(session, { name, format, imageOpts, forceShare, flags }))
  })
  if (options.output === 'human') tool.out(infoText(found))
  else tool.out(`${prettyJson(options.backingChain === true ? [infoData(found)] : infoData(found))}\n`)
  return 0
}

/** Collects what is known of an open image. */
async function imageInfo(image: OpenImage): Promise<ImageInfo> {
  const { node } = image
  const actual = await known(() => allocatedSize(node))
  const details = await known(() => formatFacts(node))
  const clusterSize = details?.clusterSize ?? 0
  const snapshots = canSnapshot(node) ? listSnapshots(node) : []
  return {
    ...(snapshots.length === 0 ? {} : { snapshots }),
    'virtual-size': virtualSize(image),
    filename: spacedJsonName(nodeFilename(node)),
    ...(clusterSize === 0 ? {} : { 'cluster-size': clusterSize }),
    format: node.driver.name,
    ...(actual === undefined ? {} : { 'actual-size': actual }),
    ...(details === undefined ? {} : { 'dirty-flag': details.isDirty }),
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
function infoData(found: ImageInfo): Record<string, unknown> {
  const { snapshots, ...others } = found
  return { ...(snapshots === undefined ? {} : { snapshots: snapshots.map(snapshotData) }), ...others }
}

/** The text for people. */
export function infoText(found: ImageInfo): string {
  const size = found['virtual-size']
  const actual = found['actual-size']
  const cluster = found['cluster-size']
  const lines = [
    `image: ${printable(found.filename)}`,
    `file format: ${found.format}`,
    `virtual size: ${formatSize(size)} (${size} bytes)`,
    `disk size: ${actual === undefined ? 'unavailable' : formatSize(actual)}`,
    ...(cluster === undefined ? [] : [`cluster_size: ${cluster}`]),
    ...(found['dirty-flag'] === true ? ['cleanly shut down: no'] : []),
  ]
  const { snapshots } = found
  return `${lines.join('\n')}\n${snapshots === undefined ? '' : snapshotTable(snapshots)}`
}
