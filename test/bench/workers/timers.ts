// How late timers and abort signals are while 32 lanes read a null disk without pause: completions that are done at once
// must leave room for everybody else. Argument `idle`: without the load, which shows what the machine itself adds.

import { type BlockBackend, type BlockGraph, drained } from 'blockgraph'
import { createGraph } from 'blockgraph/node'
import { nullBackend } from './null-disk.js'

const DURATION_MS = 1500
const PERIOD_MS = 10
const LANES = 32

const loaded = process.argv[2] !== 'idle'
const graph = createGraph()
const load = await nullBackend('null-co', graph)
const held = await nullBackend('null-co', graph)
let stopped = false
let requests = 0
const lanes = loaded ? Array.from({ length: LANES }, () => readOn(load)) : []
const [timers, aborts] = await settleBoth(measureTimers(), measureAborts(graph, held))
stopped = true
await Promise.allSettled(lanes)
console.log(
  JSON.stringify({
    timerMaxMs: Math.max(...timers),
    abortMaxMs: Math.max(...aborts),
    samples: timers.length + aborts.length,
    rate: requests / (DURATION_MS / 1000),
  }),
)

async function readOn(backend: BlockBackend): Promise<void> {
  const buffer = new Uint8Array(4096)
  for (let offset = 0; !stopped; offset = (offset + 4096) % backend.length) {
    await backend.read(offset, buffer)
    requests++
  }
}

async function measureTimers(): Promise<number[]> {
  const late: number[] = []
  const end = performance.now() + DURATION_MS
  while (performance.now() < end) {
    const due = performance.now() + PERIOD_MS
    await new Promise<void>((resolve) => setTimeout(resolve, PERIOD_MS))
    late.push(performance.now() - due)
  }
  return late
}

/** A request held by a drained section ends when its signal aborts; the time counts from when the abort was due. */
async function measureAborts(owner: BlockGraph, backend: BlockBackend): Promise<number[]> {
  const late: number[] = []
  const { node } = backend
  if (node === undefined) throw new Error('no medium')
  const quiet = await owner.mainLoop(() => drained(node))
  const end = performance.now() + DURATION_MS
  while (performance.now() < end) {
    const controller = new AbortController()
    const due = performance.now() + PERIOD_MS
    setTimeout(() => controller.abort(), PERIOD_MS)
    const ended = await backend.read(0, new Uint8Array(4096), { signal: controller.signal }).then(
      () => 'read',
      (error: { code?: string }) => error.code,
    )
    if (ended !== 'ECANCELED') throw new Error(`the held request ended with ${ended}`)
    late.push(performance.now() - due)
  }
  quiet.end()
  return late
}

async function settleBoth<A, B>(a: Promise<A>, b: Promise<B>): Promise<[A, B]> {
  return [await a, await b]
}
