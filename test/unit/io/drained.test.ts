import { describe, expect, it } from 'vitest'
import { BlockError } from '../../../src/common/error.js'
import type { GraphEvents } from '../../../src/common/trace.js'
import { backendRead } from '../../../src/io/backend/read.js'
import { backendWrite } from '../../../src/io/backend/write.js'
import { drained, drainedNodes, endQuiesce, withDrained } from '../../../src/io/drained.js'
import { createEnvironment } from '../../../src/io/environment.js'
import { read } from '../../../src/io/read.js'
import { link, memoryNode, repoint, rootOn, StubNode, StubParent, unlink } from '../../support/stub-graph.js'
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

  it('wakes when a busy parent is taken away', async () => {
    const { node } = memoryNode(4096)
    const parent = new StubParent()
    const edge = link(parent, node, 'root')
    parent.isBusy = true
    let begun = false
    const section = drained(node).then((quiet) => {
      begun = true
      quiet.end()
    })
    await settled()
    unlink(edge)
    await settled()
    expect(begun).toBe(true)
    await section
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
