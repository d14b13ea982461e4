import { describe, expect, it } from 'vitest'
import type { AsyncContext, ContextTracker } from '../../../src/common/context-tracker.js'
import { BlockError } from '../../../src/common/error.js'
import type { GraphEvents } from '../../../src/common/trace.js'
import { backendRead } from '../../../src/io/backend/read.js'
import { closeRoot } from '../../../src/io/backend/root.js'
import { backendWrite } from '../../../src/io/backend/write.js'
import { beginQuiesce, drained, drainedNodes, endQuiesce, withDrained } from '../../../src/io/drained.js'
import { createEnvironment } from '../../../src/io/environment.js'
import { read } from '../../../src/io/read.js'
import { edgeOn, link, memoryNode, repoint, rootOn, StubNode, StubParent, unlink } from '../../support/stub-graph.js'
import { settled, VirtualClock } from '../../support/virtual-clock.js'

function over(below: StubNode, name?: string): StubNode {
  const node: StubNode = new StubNode(
    {
      length: () => below.state.length,
      read: (offset, into) => (node.file === undefined ? undefined : read(node.file, offset, into)),
    },
    { kind: 'format', environment: below.state.environment, ...(name === undefined ? {} : { name }) },
  )
  link(node, below)
  return node
}

describe('drained', () => {
  it('waits for the requests of the node and of its ancestors, and resolves without a timer where all is idle', async () => {
    const clock = new VirtualClock()
    const { node, io } = memoryNode(4096, { environment: createEnvironment({ clock }) })
    const top = over(node)
    const root = rootOn(top)
    const idle = await drained(node)
    expect(clock.timers).toBe(0)
    idle.end()
    io.mode = 'held'
    const request = backendRead(root, 0, new Uint8Array(512))
    let begun = false
    const section = drained(node).then((quiet) => {
      begun = true
      return quiet
    })
    await settled()
    expect(begun).toBe(false)
    io.releaseAll()
    const quiet = await section
    await request
    expect([node, top].map((each) => each.state.inFlight)).toEqual([0, 0])
    expect(root.inFlight).toBe(0)
    expect(quiet.covers(top)).toBe(true)
    expect(quiet.covers(memoryNode(1).node)).toBe(false)
    quiet.end()
    expect([node, top].map((each) => each.state.quiesceCounter)).toEqual([0, 0])
    expect(clock.timers).toBe(0)
  })

  it('calls driver and parent hooks once per outermost section (G01, G02)', async () => {
    const { node, io } = memoryNode(4096)
    const log: string[] = []
    Object.assign(io, { drainBegin: () => log.push('driver begin'), drainEnd: () => log.push('driver end') })
    const left = new StubParent()
    const right = new StubParent()
    link(left, node, 'root')
    link(right, node, 'root')
    const first = await drained(node)
    const second = await drained(node)
    first.end()
    expect(left.log).toEqual(['begin'])
    second.end()
    expect(left.log).toEqual(['begin', 'end'])
    expect(right.log).toEqual(['begin', 'end'])
    expect(log).toEqual(['driver begin', 'driver end'])
  })

  it('counts a child edge once whatever the order of ends (G02)', async () => {
    const { node } = memoryNode(4096)
    const a = over(node)
    const b = over(node)
    const base = await drained(node)
    const inner = await drained(a)
    expect([node, a, b].map((each) => each.state.quiesceCounter)).toEqual([1, 2, 1])
    base.end()
    expect([node, a, b].map((each) => each.state.quiesceCounter)).toEqual([0, 1, 0])
    inner.end()
    expect([node, a, b].map((each) => each.state.quiesceCounter)).toEqual([0, 0, 0])
  })

  it('quiesces a parent that links to a drained child, and releases exactly that when it goes (G03, G04)', async () => {
    const { node } = memoryNode(4096)
    const quiet = await drained(node)
    const top = over(node)
    const parent = new StubParent()
    link(parent, top, 'root')
    expect(top.state.quiesceCounter).toBe(1)
    expect(parent.log).toEqual(['begin'])
    const own = await drained(top)
    const [edge] = top.children
    if (edge !== undefined) unlink(edge)
    expect(top.state.quiesceCounter).toBe(1)
    own.end()
    expect(parent.log).toEqual(['begin', 'end'])
    quiet.end()
    expect(node.state.quiesceCounter).toBe(0)
  })

  it('never releases a parent whose drained child is replaced by a drained one (G05)', async () => {
    const { node: from } = memoryNode(4096)
    const { node: to } = memoryNode(4096, { environment: from.state.environment })
    const { node: loose } = memoryNode(4096, { environment: from.state.environment })
    const parent = new StubParent()
    const edge = link(parent, from, 'root')
    const quiet = await drained(from, to)
    repoint(edge, to)
    expect(parent.log).toEqual(['begin'])
    repoint(edge, loose)
    expect(parent.log).toEqual(['begin', 'end'])
    repoint(edge, from)
    expect(parent.log).toEqual(['begin', 'end', 'begin'])
    quiet.end()
    expect(parent.log).toEqual(['begin', 'end', 'begin', 'end'])
  })

  it('walks the ancestors anew: a completion may take a parent away while others wait (G06, G07)', async () => {
    const { node, io } = memoryNode(4096)
    const top = over(node)
    const parent = new StubParent()
    const edge = link(parent, top, 'root')
    parent.isBusy = true
    io.mode = 'held'
    const request = Promise.resolve(read(edge, 0, new Uint8Array(512))).then(() => {
      unlink(edge)
      for (const child of [...top.children]) unlink(child)
      top.closed = true
    })
    const section = drained(node)
    await settled()
    io.releaseAll()
    const quiet = await section
    await request
    expect(top.state.quiesceCounter).toBe(0)
    quiet.end()
  })

  it('tolerates that a node of the section is closed inside it', async () => {
    const { node } = memoryNode(4096)
    const { node: other } = memoryNode(4096, { environment: node.state.environment })
    const quiet = await drained(node, other)
    node.closed = true
    quiet.end()
    expect(other.state.quiesceCounter).toBe(0)
  })

  it('waits for a busy parent until it says otherwise', async () => {
    const { node } = memoryNode(4096)
    const root = rootOn(node, { holdWhileDrained: false })
    let work = 1
    root.client = { busy: () => work > 0 }
    const section = drained(node)
    await settled()
    work = 0
    let done = false
    const ended = section.then((quiet) => {
      done = true
      quiet.end()
    })
    await settled()
    expect(done).toBe(false)
    for (const waiter of node.state.environment.drainWaiters) waiter.wake()
    await ended
  })

  it('asserts on a double end and on an end without a begin (G32)', async () => {
    const { node } = memoryNode(4096)
    const quiet = await drained(node)
    quiet.end()
    expect(() => quiet.end()).toThrow(/ends twice/)
    quiet[Symbol.dispose]()
    expect(() => endQuiesce([node])).toThrow(/never began/)
    expect(node.state.quiesceCounter).toBe(0)
  })

  it('undoes a begin that is aborted', async () => {
    const { node, io } = memoryNode(4096)
    const root = rootOn(node)
    io.mode = 'held'
    const request = backendRead(root, 0, new Uint8Array(512))
    const abort = new AbortController()
    const section = drainedNodes([node], { signal: abort.signal })
    await settled()
    abort.abort()
    await expect(section).rejects.toMatchObject({ code: 'ECANCELED' })
    expect(node.state.quiesceCounter).toBe(0)
    expect(root.quiesced).toBe(0)
    expect(node.state.environment.drainWaiters.size).toBe(0)
    io.releaseAll()
    await request
  })

  it('ends its section also when the work in it fails', async () => {
    const { node } = memoryNode(4096)
    const failing = withDrained([node], () => {
      throw new BlockError('EIO', 'no')
    })
    await expect(failing).rejects.toMatchObject({ code: 'EIO' })
    expect(node.state.quiesceCounter).toBe(0)
  })

  it('asks nodes below to hurry while it waits, and takes it back', async () => {
    const { node, io } = memoryNode(4096)
    const hints: boolean[] = []
    Object.assign(io, { expedite: (on: boolean) => hints.push(on) })
    const top = over(node)
    const root = rootOn(top)
    io.mode = 'held'
    const request = backendRead(root, 0, new Uint8Array(512))
    const sections = [drained(top), drained(top)]
    await settled()
    expect(hints).toEqual([true])
    io.releaseAll()
    for (const section of sections) (await section).end()
    await request
    expect(hints).toEqual([true, false])
  })

  it('reports a stall with holder, waiter and requests', async () => {
    const clock = new VirtualClock()
    const { node, io } = memoryNode(4096, {
      name: 'disk0',
      environment: createEnvironment({ clock, stallAfterMs: 100 }),
    })
    const stalls: GraphEvents['stall'][] = []
    node.state.environment.trace.listen((name, event) => {
      if (name === 'stall') stalls.push(event as GraphEvents['stall'])
    })
    const root = rootOn(node)
    io.mode = 'held'
    const request = backendWrite(root, 512, new Uint8Array(1024))
    const section = drainedNodes([node], { label: 'test drain' })
    await clock.advance(99)
    expect(stalls).toEqual([])
    await clock.advance(1)
    expect(stalls).toHaveLength(1)
    expect(stalls[0]).toMatchObject({ waitsFor: 'drain', waiter: 'test drain', waitedMs: 100 })
    expect(stalls[0]?.holder).toContain("node 'disk0'")
    expect(stalls[0]?.requests).toEqual([
      { node: 'disk0', kind: 'write', offset: 512, bytes: 1024, serialising: false, ageMs: 100 },
    ])
    io.releaseAll()
    ;(await section).end()
    await request
    expect(clock.timers).toBe(0)
  })

  it('begins and ends over a chain of 5,000 nodes without overflowing the stack', async () => {
    let { node: top } = memoryNode(4096)
    const bottom = top
    for (let i = 0; i < 5000; i++) top = over(top)
    const quiet = await drained(bottom)
    expect(top.state.quiesceCounter).toBe(1)
    expect(quiet.covers(top)).toBe(true)
    quiet.end()
    expect(top.state.quiesceCounter).toBe(0)
  })
})

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
