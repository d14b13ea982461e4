import { describe, expect, it } from 'vitest'
import type { AsyncContext, ContextTracker } from '../../../src/common/context-tracker.js'
import { backendRead } from '../../../src/io/backend/read.js'
import { closeRoot } from '../../../src/io/backend/root.js'
import { backendWrite } from '../../../src/io/backend/write.js'
import { beginQuiesce, drained, endQuiesce } from '../../../src/io/drained.js'
import { createEnvironment } from '../../../src/io/environment.js'
import { edgeOn, memoryNode, repoint, rootOn } from '../../support/stub-graph.js'
import { settled, VirtualClock } from '../../support/virtual-clock.js'

describe('a root while drained', () => {
  it('holds requests in order, reads its edge only when they start', async () => {
    const { node, io } = memoryNode(4096)
    const { node: other, io: otherIo } = memoryNode(4096, { environment: node.state.environment })
    const root = rootOn(node)
    const quiet = await drained(node, other)
    const requests = [0, 512, 1024].map((offset) => backendRead(root, offset, new Uint8Array(512)))
    await settled()
    expect(io.calls).toEqual([])
    expect(root.inFlight).toBe(0)
    if (root.edge !== undefined) repoint(root.edge as never, other)
    quiet.end()
    await Promise.all(requests)
    expect(io.calls).toEqual([])
    expect(otherIo.calls.map((call) => call.offset)).toEqual([0, 512, 1024])
  })

  it('looks again after each wake-up: a section that begins meanwhile holds on', async () => {
    const { node, io } = memoryNode(4096)
    const root = rootOn(node)
    const quiet = await drained(node)
    const request = backendRead(root, 0, new Uint8Array(512))
    await settled()
    quiet.end()
    beginQuiesce([node])
    await settled()
    expect(io.calls).toEqual([])
    endQuiesce([node])
    await request
    expect(io.calls).toHaveLength(1)
  })

  it('lets nobody overtake those that wait', async () => {
    const { node, io } = memoryNode(4096)
    const root = rootOn(node)
    const quiet = await drained(node)
    const first = backendRead(root, 0, new Uint8Array(512))
    await settled()
    quiet.end()
    const second = backendRead(root, 512, new Uint8Array(512))
    await Promise.all([first, second])
    expect(io.calls.map((call) => call.offset)).toEqual([0, 512])
    expect(root.gates).toBe(0)
  })

  it('rejects held requests when it is closed; none starts later (G30)', async () => {
    const { node, io } = memoryNode(4096)
    const root = rootOn(node)
    const quiet = await drained(node)
    const requests = [backendRead(root, 0, new Uint8Array(512)), backendWrite(root, 0, new Uint8Array(512))]
    await settled()
    closeRoot(root)
    for (const request of requests) await expect(request).rejects.toMatchObject({ code: 'ECANCELED' })
    quiet.end()
    await settled()
    expect(io.calls).toEqual([])
    await expect(backendRead(root, 0, new Uint8Array(512))).rejects.toMatchObject({ code: 'ECANCELED' })
  })

  it('ends a held request at once when its signal aborts, with one listener per signal', async () => {
    const { node, io } = memoryNode(4096)
    const root = rootOn(node)
    const quiet = await drained(node)
    const abort = new AbortController()
    let listeners = 0
    const { signal } = abort
    const add = signal.addEventListener.bind(signal)
    Object.assign(signal, {
      addEventListener: (...args: Parameters<typeof add>) => {
        listeners++
        add(...args)
      },
    })
    const requests = Array.from({ length: 100 }, () => backendRead(root, 0, new Uint8Array(512), { signal }))
    await settled()
    expect(listeners).toBe(1)
    abort.abort()
    for (const request of requests) await expect(request).rejects.toMatchObject({ code: 'ECANCELED' })
    await expect(backendRead(root, 0, new Uint8Array(1), { signal })).rejects.toMatchObject({ code: 'ECANCELED' })
    quiet.end()
    await settled()
    expect(io.calls).toEqual([])
    expect(root.gates).toBe(0)
  })

  it('tells a client that comes while it is drained, and does not hold for one that says so', async () => {
    const { node, io } = memoryNode(4096)
    const root = rootOn(node, { holdWhileDrained: false })
    const quiet = await drained(node)
    const log: string[] = []
    root.client = { drainedBegin: () => log.push('begin'), drainedEnd: () => log.push('end') }
    expect(log).toEqual(['begin'])
    await backendRead(root, 0, new Uint8Array(512))
    expect(io.calls).toHaveLength(1)
    quiet.end()
    expect(log).toEqual(['begin', 'end'])
  })
})

/** A tracker whose context a test sets by hand. */
class HandTracker implements ContextTracker {
  context: AsyncContext | undefined

  run<T>(context: AsyncContext, fn: () => T): T {
    const outer = this.context
    this.context = context
    try {
      return fn()
    } finally {
      this.context = outer
    }
  }

  current(): AsyncContext | undefined {
    return this.context
  }
}

describe('context tracking', () => {
  it('refuses a drain from inside a request at once (G31)', async () => {
    const tracker = new HandTracker()
    const { node, io } = memoryNode(4096, { environment: createEnvironment({ clock: new VirtualClock(), tracker }) })
    const root = rootOn(node)
    let inner: Promise<unknown> | undefined
    Object.assign(io, {
      read: () => {
        inner = drained(node).catch((error: unknown) => error)
      },
    })
    await backendRead(root, 0, new Uint8Array(512))
    expect(await inner).toMatchObject({ code: 'EDEADLK' })
    expect(node.state.quiesceCounter).toBe(0)
  })

  it('refuses a root request from inside the own section at once, not that of a stranger', async () => {
    const tracker = new HandTracker()
    const { node } = memoryNode(4096, { environment: createEnvironment({ clock: new VirtualClock(), tracker }) })
    const root = rootOn(node)
    const mine: AsyncContext = { kind: 'main-loop', subject: {}, outer: undefined }
    const quiet = await tracker.run(mine, () => drained(node))
    const refused = tracker.run(mine, () => backendRead(root, 0, new Uint8Array(512)))
    await expect(refused).rejects.toMatchObject({ code: 'EDEADLK' })
    const stranger = backendRead(root, 0, new Uint8Array(512))
    quiet.end()
    await stranger
    await tracker.run(mine, () => backendRead(root, 0, new Uint8Array(512)))
  })

  it('counts code that a request left behind as no part of it', async () => {
    const tracker = new HandTracker()
    const { node, io } = memoryNode(4096, { environment: createEnvironment({ clock: new VirtualClock(), tracker }) })
    const root = rootOn(node)
    let seen: AsyncContext | undefined
    Object.assign(io, {
      read: () => {
        seen = tracker.current()
      },
    })
    await backendRead(root, 0, new Uint8Array(512))
    expect(seen?.ended).toBe(true)
    if (seen !== undefined) (await tracker.run(seen, () => drained(node))).end()
    expect(edgeOn(node).quiesced).toBe(false)
  })
})
