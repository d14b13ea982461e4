// The two tools that are paired: `blockgraph-img bench` and `qemu-img bench`. Both are whole processes, take the same
// arguments, and print how long the requests took, opening and closing not counted.

import { join } from 'node:path'
import { repository, runProgram } from './process.js'

/** What both are asked to do. */
export interface BenchRequest {
  /** Requests in flight. */
  depth: number
  count: number
  /** Of each; 4096 unless said. */
  bytes?: number
  /** From the beginning of a request to that of the next, in bytes; else they lie side by side. */
  step?: number
  write?: boolean
  /** The image with the options that say what it is. */
  image: readonly string[]
  /** `-i`; `inline` is ours alone. */
  aio?: 'threads' | 'io_uring' | 'inline'
}

/** What the process is given, besides the request. */
export interface OurSettings {
  native: boolean
  /** UV_THREADPOOL_SIZE. */
  pool: number
}

const BLOCKGRAPH_IMG = join(repository, 'bin', 'blockgraph-img.js')

/** Requests per second of ours. */
export async function ourRate(request: BenchRequest, settings: OurSettings): Promise<number> {
  const env = { UV_THREADPOOL_SIZE: String(settings.pool), BLOCKGRAPH_NATIVE: settings.native ? 'on' : 'off' }
  return rateOf(request, await runProgram(process.execPath, [BLOCKGRAPH_IMG, ...benchArguments(request)], env))
}

/** Requests per second of the peer. */
export async function peerRate(request: BenchRequest): Promise<number> {
  return rateOf(request, await runProgram('qemu-img', benchArguments(request)))
}

/** First line of `qemu-img --version`; undefined where it is not installed. */
export async function peerVersion(): Promise<string | undefined> {
  try {
    return (await runProgram('qemu-img', ['--version'])).split('\n')[0]
  } catch {
    return undefined
  }
}

/** Why the peer cannot use io_uring here; undefined where it can. */
export async function peerLacksIoUring(file: string): Promise<string | undefined> {
  try {
    await peerRate({ depth: 32, count: 10_000, image: ['-f', 'raw', file], aio: 'io_uring' })
    return undefined
  } catch (error) {
    const [reason] = (error instanceof Error ? error.message : String(error)).split('\n')
    return `qemu-img cannot use io_uring here: ${reason}`
  }
}

function benchArguments(request: BenchRequest): string[] {
  const { depth, count, bytes = 4096, step, write = false, image, aio } = request
  const fixed = ['bench', '-c', String(count), '-d', String(depth), '-s', String(bytes), '-t', 'writeback']
  const apart = step === undefined ? [] : ['-S', String(step)]
  return [...fixed, ...apart, ...(write ? ['-w'] : []), ...(aio === undefined ? [] : ['-i', aio]), ...image]
}

function rateOf(request: BenchRequest, printed: string): number {
  const seconds = Number(/Run completed in ([\d.]+) seconds/.exec(printed)?.[1])
  if (!(seconds > 0)) throw new Error(`no time in what bench printed: ${printed}`)
  return request.count / seconds
}
