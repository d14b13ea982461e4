// Requests in flight together, begun and completed in the order of a seed, against what the disk may show of them.

import { BlockError } from '../../../src/common/error.js'
import { BDRV_REQ_FUA, BDRV_REQ_MAY_UNMAP, BDRV_REQ_WRITE_COMPRESSED } from '../../../src/common/request.js'
import { type Effect, History } from './history.js'
import type { ImageWorld } from './image-world.js'
import { dataOf, type GuestRequest, rangeOf, spread } from './requests.js'

/** What requests are made of. */
export interface BatchContext {
  world: ImageWorld
  clusterSize: number
  places: readonly number[]
  /** Counts requests over the whole run. */
  serial: number
}

interface Aborting {
  controller: AbortController
  steps: number
}

/** Runs requests, at most `together` at once, on a disk that shows `base`. Returns what it shows then. Throws for anything wrong. */
export async function runBatch(
  context: BatchContext,
  requests: readonly GuestRequest[],
  together: number,
  base: Uint8Array,
): Promise<{ content: Uint8Array; history: History }> {
  const { world } = context
  const { order, controller } = world
  const history = new History(base)
  const waiting = [...requests]
  const aborting = new Set<Aborting>()
  const failures: unknown[] = []
  let inFlight = 0
  let allEnded: () => void = () => {}
  const ended = new Promise<void>((resolve) => {
    allEnded = resolve
  })
  const submitNext = (): boolean => {
    const request = waiting.shift()
    if (request === undefined) return false
    inFlight++
    const running = submit(context, history, request, base.byteLength, aborting)
    running
      .catch((error: unknown) => failures.push(error))
      .finally(() => {
        inFlight--
        if (inFlight === 0 && waiting.length === 0) allEnded()
      })
    return true
  }
  await order.drive(ended, () => {
    for (const one of aborting) {
      if (--one.steps > 0) continue
      aborting.delete(one)
      one.controller.abort()
    }
    const mayBegin = inFlight < together && (controller.pending.length === 0 || order.below(2) === 0)
    return mayBegin && submitNext()
  })
  // Only requests of the guest meet the failure.
  order.failIn = 0
  if (failures.length > 0) throw failures[0]
  const content = await world.readAll()
  const wrong = history.judgeReads() ?? history.judge(0, content)
  if (wrong !== undefined) throw new Error(wrong)
  return { content, history }
}

async function submit(
  context: BatchContext,
  history: History,
  request: GuestRequest,
  length: number,
  aborting: Set<Aborting>,
): Promise<void> {
  const { backend } = context.world.rig
  const serial = ++context.serial
  const { clusterSize, places } = context
  const range = rangeOf(request, { length, clusterSize, places })
  if (range === undefined) return
  const controller = new AbortController()
  if (request.abort > 0) aborting.add({ controller, steps: request.abort })
  if (request.kind === 'flush') return followFlush(context, backend.flush())
  const { offset, bytes } = range
  const { signal } = controller
  const fua = request.fua ? BDRV_REQ_FUA : 0
  const data = dataOf(serial, offset, bytes, request.noise)
  const buffers = spread(data, request.buffers)
  const watch = (effect: Effect, running: Promise<void>, compressed = false) =>
    follow(history, effect, running, {
      compressed,
      mayFail: context.world.order.failed > 0 || context.world.order.failIn > 0,
    })
  switch (request.kind) {
    case 'write':
      return watch(history.begin('write', offset, data), backend.write(offset, buffers, { flags: fua, signal }))
    case 'compressed': {
      const flags = fua | BDRV_REQ_WRITE_COMPRESSED
      return watch(history.begin('write', offset, data), backend.write(offset, buffers, { flags, signal }), true)
    }
    case 'zero': {
      const flags = fua | (request.unmap ? BDRV_REQ_MAY_UNMAP : 0)
      const zeroes = history.begin('zero', offset, new Uint8Array(bytes))
      return watch(zeroes, backend.writeZeroes(offset, bytes, { flags, signal }))
    }
    case 'discard': {
      const discarded = history.begin('discard', offset, new Uint8Array(bytes))
      return watch(discarded, backend.discard(offset, bytes, { signal }))
    }
    default: {
      const into = new Uint8Array(bytes).fill(0xee)
      return watch(history.begin('read', offset, into), backend.read(offset, spread(into, request.buffers), { signal }))
    }
  }
}

/**
 * Takes note of how a request ends. What was aborted may have been done; a compressed write replaces nothing, and not
 * every image has them.
 */
async function follow(
  history: History,
  effect: Effect,
  running: Promise<void>,
  { compressed, mayFail }: { compressed: boolean; mayFail: boolean },
): Promise<void> {
  try {
    await running
    history.end(effect, 'done')
  } catch (error) {
    const code = error instanceof BlockError ? error.code : undefined
    if (code === 'ECANCELED') history.end(effect, effect.kind === 'read' ? 'vain' : 'unclear')
    // Of several clusters some may have been written before one was found that is there.
    else if (compressed && code === 'EIO') history.end(effect, 'unclear')
    else if (compressed && code === 'ENOTSUP') history.end(effect, 'vain')
    else if (mayFail && code === 'EIO') history.end(effect, effect.kind === 'read' ? 'vain' : 'unclear')
    else {
      history.end(effect, 'unclear')
      throw error
    }
  }
}

/** A flush may fail where a request below it did. */
async function followFlush({ world }: BatchContext, running: Promise<void>): Promise<void> {
  try {
    await running
  } catch (error) {
    if (world.order.failed === 0 || !(error instanceof BlockError) || error.code !== 'EIO') throw error
  }
}
