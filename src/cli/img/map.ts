// map: which ranges of an image hold data, and where on the host.

import type { Offset } from '../../common/units.js'
import { nodeFilename } from '../../global-state/node-filename.js'
import type { NodeState } from '../../global-state/node-state.js'
import { errnoText } from '../error-text.js'
import { type Extent, extentAt, virtualSize } from '../image-data.js'
import { type ImageQueryValues, newImageQuery, readImageQuery } from '../image-query.js'
import { spacedJsonName } from '../json-text.js'
import { openImage } from '../open-image.js'
import { type OpenImage, withSession } from '../session.js'
import { sizeArgument } from '../sizes.js'
import { printable, type Tool, ToolError } from '../tool.js'

interface Values extends ImageQueryValues {
  startOffset?: number
  maxLength?: number
}

/** A range of the map: neighbours that continue each other are one entry. */
export interface MapEntry extends Extent {
  start: Offset
}

/** Runs `map`. */
export async function map(tool: Tool, args: readonly string[]): Promise<number> {
  const command = newImageQuery('map')
    .option('-s, --start-offset <offset>', '', (text) => sizeArgument('start offset', text))
    .option('-l, --max-length <len>', '', (text) => sizeArgument('max length', text))
  const { options, name, secrets } = readImageQuery<Values>(tool, command, args)
  return withSession(tool, async (session) => {
    session.defineSecrets(secrets)
    const { format, imageOpts, forceShare } = options
    const image = await openImage(session, { name, format, imageOpts, forceShare })
    const writer = options.output === 'json' ? jsonWriter(tool) : humanWriter(tool)
    writer.begin()
    const start = options.startOffset ?? 0
    const end = Math.min(virtualSize(image), start + (options.maxLength ?? Number.MAX_SAFE_INTEGER))
    for await (const entry of mapEntries(image, start, end)) writer.entry(entry)
    writer.end()
    return 0
  })
}

/** The entries from `start` to `end`; at least one, which is empty where the range is. */
async function* mapEntries(image: OpenImage, start: Offset, end: Offset): AsyncGenerator<MapEntry> {
  let current: MapEntry = { start, bytes: 0, data: false, zero: false, present: false, depth: 0 }
  for (let at = start; at < end; at = current.start + current.bytes) {
    let extent: Extent
    try {
      extent = await extentAt(image, at, end - at)
    } catch (thrown) {
      throw new ToolError(`Failed to read image metadata: ${errnoText(thrown)}`)
    }
    if (continues(current, extent)) {
      current.bytes += extent.bytes
      continue
    }
    if (current.bytes > 0) yield current
    current = { ...extent, start: at }
  }
  yield current
}

/** Whether `extent`, which begins where `entry` ends, says the same and lies behind it on the host too. */
export function continues(entry: MapEntry, extent: Extent): boolean {
  if (entry.bytes === 0) return false
  const same =
    entry.data === extent.data &&
    entry.zero === extent.zero &&
    entry.present === extent.present &&
    entry.depth === extent.depth &&
    entry.file === extent.file
  if (!same || entry.map === undefined || extent.map === undefined) return same && entry.map === extent.map
  return entry.map + entry.bytes === extent.map
}

interface MapWriter {
  begin(): void
  entry(entry: MapEntry): void
  end(): void
}

function jsonWriter(tool: Tool): MapWriter {
  let separator = '['
  return {
    begin: () => {},
    entry(entry) {
      const offset = entry.map === undefined ? '' : `, "offset": ${entry.map}`
      tool.out(
        `${separator}{ "start": ${entry.start}, "length": ${entry.bytes}, "depth": ${entry.depth}, ` +
          `"present": ${entry.present}, "zero": ${entry.zero}, "data": ${entry.data}${offset}}`,
      )
      separator = ',\n'
    },
    end: () => tool.out(']\n'),
  }
}

function humanWriter(tool: Tool): MapWriter {
  const row = (cells: readonly string[]) => {
    const [last, ...others] = [...cells].reverse()
    tool.out(
      `${others
        .reverse()
        .map((cell) => cell.padEnd(16))
        .join('')}${last}\n`,
    )
  }
  return {
    begin: () => row(['Offset', 'Length', 'Mapped to', 'File']),
    entry(entry) {
      if (!entry.data || entry.zero) return
      if (entry.map === undefined) {
        throw new ToolError('File contains external, encrypted or compressed clusters.')
      }
      const file = entry.file === undefined ? '' : spacedJsonName(nodeFilename(entry.file as NodeState))
      row([hex(entry.start), hex(entry.bytes), hex(entry.map), printable(file)])
    },
    end: () => {},
  }
}

/** As `%#x`: no prefix for 0. */
function hex(value: number): string {
  return value === 0 ? '0' : `0x${value.toString(16)}`
}
