// alloc and map: what the image itself holds, as against its backing files.

import { isAllocated } from '../../../io/block-status.js'
import { errnoText } from '../../error-text.js'
import { virtualSize } from '../../image-data.js'
import type { OpenImage } from '../../session.js'
import { ToolError } from '../../tool.js'
import { CommandFailure, type IoCommand } from '../command.js'
import { byteCount } from '../numbers.js'
import { exact, hexText, sizeText } from '../report.js'

/** What `alloc` looks at where no count is given, in bytes. */
const DEFAULT_COUNT = 512

/** A range with one answer. */
interface Run {
  allocated: boolean
  bytes: number
}

/** The run that begins at `offset`, of `bytes` bytes at most. What lies behind the last real byte goes with it. */
async function runAt({ node }: OpenImage, offset: number, bytes: number): Promise<Run> {
  const { length } = node.state
  if (offset >= length) return { ...(await isAllocated(node, length - 1, 1)), bytes }
  const run = await isAllocated(node, offset, Math.min(bytes, length - offset))
  return offset + run.bytes < length ? run : { ...run, bytes }
}

export const allocCommand: IoCommand = {
  name: 'alloc',
  alias: 'a',
  minWords: 1,
  maxWords: 2,
  usage: 'offset [count]',
  summary: 'checks if offset is allocated in the file',
  async run(shell, [, offsetText = '', countText]) {
    const offset = byteCount(shell, offsetText)
    const count = countText === undefined ? DEFAULT_COUNT : byteCount(shell, countText)
    const image = shell.opened
    const end = Math.min(virtualSize(image), offset + count)
    let allocated = 0
    try {
      for (let at = offset; at < end; ) {
        const run = await runAt(image, at, end - at)
        if (run.allocated) allocated += run.bytes
        at += run.bytes
      }
    } catch (thrown) {
      throw new CommandFailure(`is_allocated failed: ${errnoText(thrown)}`)
    }
    const looked = Math.max(end - offset, 0)
    shell.host.out(`${exact(allocated)}/${exact(looked)} bytes allocated at offset ${sizeText(offset)}\n`)
    return true
  },
}

export const mapCommand: IoCommand = {
  name: 'map',
  minWords: 0,
  maxWords: 0,
  usage: '',
  summary: 'prints the allocated areas of a file',
  async run(shell) {
    const image = shell.opened
    const end = virtualSize(image)
    for (let at = 0; at < end; ) {
      const run = await longestRun(image, at, end)
      const said = run.allocated ? '    allocated' : 'not allocated'
      shell.host.out(
        `${sizeText(run.bytes)} (${hexText(run.bytes)}) bytes ${said} at offset ${sizeText(at)} (${hexText(at)})\n`,
      )
      at += run.bytes
    }
    return true
  },
}

/** Neighbours with the same answer are one run. */
async function longestRun(image: OpenImage, start: number, end: number): Promise<Run> {
  try {
    const first = await runAt(image, start, end - start)
    let { bytes } = first
    while (start + bytes < end) {
      const next = await runAt(image, start + bytes, end - start - bytes)
      if (next.allocated !== first.allocated) break
      bytes += next.bytes
    }
    return { ...first, bytes }
  } catch (thrown) {
    throw new ToolError(`Failed to get allocation status: ${errnoText(thrown)}`)
  }
}
