import { describe, expect, it } from 'vitest'
import { BlockError } from '../../../src/common/error.js'
import { submitRead, submitWrite } from '../../../src/io/backend/submit.js'
import type { Completion, NodeIo } from '../../../src/io/node-io.js'
import { read } from '../../../src/io/read.js'
import { write } from '../../../src/io/write.js'
import { edgeOn, link, type MemoryIo, memoryNode, rootOn, StubNode } from '../../support/stub-graph.js'

const sector = (fill = 0) => new Uint8Array(512).fill(fill)

/** A node over memory that passes requests on; `changed` may take away from that. */
function relayOver(bytes: number, changed: Partial<NodeIo> = {}): { relay: StubNode; disk: StubNode; io: MemoryIo } {
  const { node: disk, io } = memoryNode(bytes, { name: 'disk' })
  io.mode = 'held'
  return { relay: over(disk, changed), disk, io }
}

function over(below: StubNode, changed: Partial<NodeIo> = {}): StubNode {
  const { environment, length } = below.state
  const node = new StubNode(
    {
      relays: true,
      length: () => length,
      read: (offset, into) => read(edge, offset, into),
      write: (offset, data) => write(edge, offset, data),
      ...changed,
    },
    { name: 'relay', environment, length },
  )
  const edge = link(node, below)
  return node
}

describe('a request of a node that relays', () => {
  it("is in flight until its child's is done, and ends with it on one promise", async () => {
    const { relay, disk, io } = relayOver(4096)
    const { read: pass } = relay.io
    const ofChild: Completion[] = []
    relay.io.read = (offset, into, flags) => {
      const pending = pass.call(relay.io, offset, into, flags)
      ofChild.push(pending)
      return pending
    }
    const pending = read(edgeOn(relay), 512, sector())
    expect(pending).toBe(ofChild[0])
    expect([relay.state.inFlight, disk.state.inFlight]).toEqual([1, 1])
    expect(relay.state.first).toMatchObject({ kind: 'read', offset: 512, bytes: 512 })
    const after = pending?.then(() => [relay.state.inFlight, disk.state.inFlight])
    io.releaseAll()
    expect(await after).toEqual([0, 0])
    expect([relay.state.first, disk.state.first]).toEqual([undefined, undefined])
  })

  it('is counted by its root at the end, through any number of such nodes', async () => {
    const { relay, disk, io } = relayOver(4096)
    const nodes = [disk, relay]
    for (let i = 0; i < 5; i++) nodes.push(over(nodes[nodes.length - 1] as StubNode))
    const root = rootOn(nodes[nodes.length - 1] as StubNode)
    const pending = [submitRead(root, 0, sector()), submitWrite(root, 0, sector(7)), submitRead(root, 1024, sector())]
    expect([...nodes.map(({ state }) => state.inFlight), root.inFlight]).toEqual(Array.from({ length: 8 }, () => 3))
    io.releaseAll()
    await Promise.all(pending)
    expect([...nodes.map(({ state }) => state.inFlight), root.inFlight]).toEqual(Array.from({ length: 8 }, () => 0))
    expect(root.accounting).toMatchObject({
      read: { operations: 2, bytes: 1024 },
      write: { operations: 1, bytes: 512 },
    })
    // A flush of any of them must not be skipped.
    expect(nodes.map(({ state }) => state.writeGeneration)).toEqual(nodes.map(() => 1))
  })

  it('fails with the error of its child, named after that, once none of them is in flight', async () => {
    const { relay, disk, io } = relayOver(4096)
    io.failure = () => new BlockError('EIO', 'bad sector')
    const root = rootOn(relay)
    const failed = Promise.resolve(submitWrite(root, 0, sector())).catch((error) => ({
      error,
      inFlight: [root.inFlight, relay.state.inFlight, disk.state.inFlight],
    }))
    io.releaseAll()
    expect(await failed).toMatchObject({ error: { code: 'EIO', node: 'disk' }, inFlight: [0, 0, 0] })
    expect([root.accounting.write.failed, relay.state.writeGeneration]).toEqual([1, 1])
  })

  it('has a promise of its own where the driver does not say that it relays', async () => {
    let ofChild: Completion
    const { relay, io } = relayOver(4096, { read: () => ofChild })
    Object.assign(relay.io, { relays: undefined })
    ofChild = io.read(0, sector())
    const pending = read(edgeOn(relay), 0, sector())
    expect(pending).not.toBe(ofChild)
    io.releaseAll()
    await pending
    expect(relay.state.inFlight).toBe(0)
  })

  it('does not end with a request that is long over, whose promise the driver has kept', async () => {
    const kept: { promise: Completion } = { promise: undefined }
    const { relay, disk, io } = relayOver(4096, { read: () => kept.promise })
    kept.promise = read(edgeOn(disk), 0, sector())
    io.releaseAll()
    await kept.promise
    const pending = read(edgeOn(relay), 0, sector())
    expect(relay.state.inFlight).toBe(1)
    await pending
    expect([relay.state.inFlight, disk.state.inFlight]).toEqual([0, 0])
  })

  it('does not end with a later request of its child than its own', async () => {
    const kept: { promise: Completion } = { promise: undefined }
    const { relay, disk, io } = relayOver(4096, { read: () => kept.promise })
    kept.promise = read(edgeOn(disk), 0, sector())
    const later = read(edgeOn(disk), 1024, sector())
    const pending = read(edgeOn(relay), 0, sector())
    io.held.splice(0, 1)[0]?.finish()
    await pending
    expect([relay.state.inFlight, disk.state.inFlight]).toEqual([0, 1])
    io.releaseAll()
    await later
    expect(disk.state.inFlight).toBe(0)
  })
})
