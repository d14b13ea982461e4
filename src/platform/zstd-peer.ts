// Zstandard by the optional peer @bokuweb/zstd-wasm, on threads of its own: they keep the loop free, compress side by side, and
// hold an instance that no other user of the package can begin anew under our calls.

import { createRequire } from 'node:module'
import { availableParallelism } from 'node:os'
import { Worker } from 'node:worker_threads'
import { BlockError } from '../common/error.js'
import type { Compressor } from '../common/host-services.js'
import { frameOf } from './zstd-frame.js'

/** Threads at most; the first starts with the first call, the others when all are busy. */
const MOST_THREADS = 4

/** What a thread runs. A text, as it is small and must not depend on where a bundler leaves its files. */
const PROGRAM = `
const { parentPort, workerData } = require('node:worker_threads')
const zstd = require(workerData)
const ready = zstd.init()
parentPort.on('message', async ({ call, data }) => {
  await ready
  try {
    const result = zstd[call](data)
    parentPort.postMessage({ result }, [result.buffer])
  } catch (error) {
    parentPort.postMessage({ error: String(error && error.message) })
  }
})
`

interface Job {
  call: 'compress' | 'decompress'
  /** Its buffer goes to the thread. */
  data: Uint8Array<ArrayBuffer>
  resolve(result: Uint8Array): void
  reject(error: BlockError): void
}

type Answer = { result: Uint8Array } | { error: string }

/** One thread: answers its jobs in order. Keeps the process alive while it has any. */
interface Thread {
  readonly worker: Worker
  readonly jobs: Job[]
}

/** Where the peer is, or undefined where it is not installed. */
export function findZstdPeer(): string | undefined {
  try {
    return createRequire(import.meta.url).resolve('@bokuweb/zstd-wasm')
  } catch {
    return undefined
  }
}

/** Zstandard by the peer found at `path`. */
export function peerZstd(path: string): Compressor {
  const threads = new Set<Thread>()
  const run = (call: Job['call'], data: Uint8Array): Promise<Uint8Array> =>
    new Promise((resolve, reject) => {
      // A copy, as a message takes the whole buffer along that a view is of.
      submit(threads, path, { call, data: Uint8Array.from(data), resolve, reject })
    })
  return {
    async compress(data, most) {
      const frame = await run('compress', data)
      return frame.length <= most ? frame : undefined
    },
    async decompress(data, bytes) {
      const content = await run('decompress', frameOf(data, bytes))
      if (content.length !== bytes)
        throw new BlockError('EIO', `zstd: ${content.length} of ${bytes} bytes in the frame`)
      return content
    },
  }
}

function submit(threads: Set<Thread>, path: string, job: Job): void {
  let best: Thread | undefined
  for (const thread of threads) if (best === undefined || thread.jobs.length < best.jobs.length) best = thread
  const isFull = threads.size >= Math.min(MOST_THREADS, availableParallelism())
  const thread = best !== undefined && (best.jobs.length === 0 || isFull) ? best : start(threads, path)
  if (thread.jobs.push(job) === 1) thread.worker.ref()
  thread.worker.postMessage({ call: job.call, data: job.data }, [job.data.buffer])
}

function start(threads: Set<Thread>, path: string): Thread {
  const worker = new Worker(PROGRAM, { eval: true, workerData: path })
  const thread: Thread = { worker, jobs: [] }
  worker.on('message', (answer: Answer) => {
    const job = thread.jobs.shift()
    if (thread.jobs.length === 0) worker.unref()
    if ('result' in answer) job?.resolve(answer.result)
    else job?.reject(new BlockError('EIO', `zstd: ${answer.error}`))
  })
  const end = (cause: unknown): void => {
    threads.delete(thread)
    for (const job of thread.jobs.splice(0)) {
      job.reject(new BlockError('EIO', 'zstd: the thread of @bokuweb/zstd-wasm has ended', { cause }))
    }
  }
  worker.on('error', end)
  worker.on('exit', end)
  threads.add(thread)
  return thread
}
