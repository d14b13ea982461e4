// bench: sends requests to an image, many at a time, and says how long that took.

import { alignedBuffer } from '../../platform/aligned-buffer.js'
import { newCommand, parseCommandLine } from '../command-line.js'
import { errnoText } from '../error-text.js'
import { virtualSize } from '../image-data.js'
import {
  aioMode,
  cacheMode,
  forceShareOption,
  formatOption,
  type ImageOptionValues,
  imageOptsOption,
  refuseCachedNative,
  refuseFormatWithImageOpts,
} from '../image-options.js'
import { openImage } from '../open-image.js'
import { type Session, withSession } from '../session.js'
import { countArgument, sizeArgument } from '../sizes.js'
import { type Tool, ToolError, usageError } from '../tool.js'
import { type BenchPlan, runBench } from './bench-run.js'

const INT_MAX = 2147483647

interface Values extends ImageOptionValues {
  count: number
  depth: number
  bufferSize: number
  step?: number
  offset: number
  write?: boolean
  native?: boolean
  aio?: string
  cache?: string
  quiet?: boolean
  drain: boolean
  flushInterval?: number
  pattern: number
}

/** Runs `bench`. */
export async function bench(tool: Tool, args: readonly string[]): Promise<number> {
  const { options, operands } = parseCommandLine<Values>(tool, benchCommand(), args)
  const [name] = operands
  if (name === undefined || operands.length > 1) throw usageError(tool.name, 'Expecting one image file name')
  const interval = options.flushInterval ?? 0
  if (options.write !== true && interval > 0) throw new ToolError('--flush-interval is only available in write tests')
  if (interval > 0 && interval < options.depth) throw new ToolError("Flush interval can't be smaller than depth")
  refuseFormatWithImageOpts(options.format, options.imageOpts)
  return withSession(tool, (session) => benchImage(session, name, options))
}

function benchCommand() {
  const count = (what: string, min: number, max = INT_MAX) => {
    return (text: string) => {
      const value = countArgument(text, min, max)
      if (value === undefined) throw new ToolError(`Invalid ${what} specified`)
      return value
    }
  }
  return newCommand('bench')
    .option('-c, --count <count>', '', count('request count', 0), 75000)
    .option('-d, --depth <depth>', '', count('queue depth', 1), 64)
    .addOption(formatOption())
    .option('-s, --buffer-size <size>', '', (text) => sizeArgument('buffer size', text, INT_MAX), 4096)
    .option('-S, --step <size>', '', (text) => sizeArgument('step_size', text, INT_MAX))
    .option('-o, --offset <offset>', '', (text) => sizeArgument('offset', text), 0)
    .option('-w, --write')
    .option('-n, --native')
    .option('-i, --aio <mode>', '', aioMode)
    .option('-t, --cache <mode>')
    .option('-q, --quiet')
    .option('--no-drain')
    .option('--flush-interval <interval>', '', count('flush interval', 0))
    .option('--pattern <pattern>', '', count('pattern byte', 0, 0xff), 0)
    .addOption(forceShareOption())
    .addOption(imageOptsOption())
}

async function benchImage(session: Session, name: string, options: Values): Promise<number> {
  const { tool } = session
  const write = options.write === true
  const { format, imageOpts, forceShare } = options
  const cache = cacheMode(options.cache ?? 'writeback', 'Invalid cache mode')
  const aio = options.native === true ? 'native' : options.aio
  refuseCachedNative(aio, cache, `Could not open '${name}'`)
  const image = await openImage(session, {
    name,
    format,
    imageOpts,
    forceShare,
    writable: write,
    cache,
    aio,
  })
  const { depth, offset, pattern, bufferSize } = options
  const plan: BenchPlan = {
    count: options.count,
    depth,
    bytes: bufferSize,
    step: options.step === undefined || options.step === 0 ? bufferSize : options.step,
    offset,
    length: virtualSize(image),
    write,
    pattern,
    flushInterval: options.flushInterval ?? 0,
    drainOnFlush: options.drain,
  }
  tool.expectWork?.(plan.count * bufferSize)
  tool.out(
    `Sending ${plan.count} ${write ? 'write' : 'read'} requests, ${bufferSize} bytes each, ${depth} in parallel ` +
      `(starting at offset ${offset}, step size ${plan.step})\n`,
  )
  if (plan.flushInterval > 0) {
    tool.out(`Sending flush every ${plan.flushInterval} requests\n`)
  }
  const seconds = await timeBench(session, image.backend.root, plan)
  tool.out(`Run completed in ${seconds.toFixed(3)} seconds.\n`)
  return 0
}

async function timeBench(session: Session, root: Parameters<typeof runBench>[0], plan: BenchPlan): Promise<number> {
  const { clock } = session.graph.environment
  const began = clock.now()
  try {
    await runBench(root, plan, clock, alignedBuffer)
  } catch (thrown) {
    throw new ToolError(`Failed request: ${errnoText(thrown)}`)
  }
  return (clock.now() - began) / 1000
}
