// Order between requests: serialising ones linearise whatever overlaps, and inside a drained section nothing is in flight.

import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { BDRV_REQ_SERIALISING } from '../../../src/common/request.js'
import { backendRead } from '../../../src/io/backend/read.js'
import { backendWrite } from '../../../src/io/backend/write.js'
import type { DrainedSection } from '../../../src/io/drained.js'
import { drained } from '../../../src/io/drained.js'
import { read } from '../../../src/io/read.js'
import { write } from '../../../src/io/write.js'
import { edgeOn, link, memoryNode, rootOn, StubNode } from '../../support/stub-graph.js'
import { drainMicrotasks } from '../../support/virtual-clock.js'

describe('serialising writes', () => {
  it('that overlap take effect one after the other, whole, in the order in which they settle', async () => {
    const request = fc.record({ offset: fc.nat(3000), bytes: fc.integer({ min: 1, max: 1000 }) })
    await fc.assert(
      fc.asyncProperty(
        fc.array(request, { minLength: 2, maxLength: 8 }),
        fc.constantFrom(1, 64, 512),
        fc.infiniteStream(fc.nat(100)),
        async (requests, requestAlignment, random) => {
          const { node, io } = memoryNode(4096, { limits: { requestAlignment, maxTransfer: requestAlignment * 2 } })
          io.mode = 'held'
          const edge = edgeOn(node)
          const model = new Uint8Array(4096)
          const all = requests.map(async ({ offset, bytes }, index) => {
            await write(edge, offset, new Uint8Array(bytes).fill(index + 1), BDRV_REQ_SERIALISING)
            model.fill(index + 1, offset, offset + bytes)
          })
          const watched = Promise.all(all)
          for (let idle = 0; idle < 3; ) {
            await drainMicrotasks()
            const [one] = io.held.splice((random.next().value as number) % Math.max(io.held.length, 1), 1)
            if (one === undefined) idle++
            else {
              idle = 0
              one.finish()
            }
          }
          expect(node.state.inFlight, 'requests that wait for ever').toBe(0)
          await watched
          expect(Buffer.compare(io.bytes, model)).toBe(0)
        },
      ),
      { numRuns: 150 },
    )
  })
})

/** Two tops on one base: a diamond without its tip. */
function world() {
  const { node: base, io } = memoryNode(8192, { limits: { requestAlignment: 512 } })
  io.mode = 'held'
  const tops = [0, 1].map(() => {
    const top: StubNode = new StubNode(
      {
        length: () => 8192,
        read: (offset, into) => (top.file === undefined ? undefined : read(top.file, offset, into)),
        write: (offset, data) => (top.file === undefined ? undefined : write(top.file, offset, data)),
      },
      { kind: 'format', environment: base.state.environment },
    )
    link(top, base)
    return top
  })
  return { base, io, tops, nodes: [base, ...tops], roots: tops.map((top) => rootOn(top)) }
}

describe('a drained section', () => {
  it('has nothing in flight at its nodes and their ancestors, for as long as it is open', async () => {
    const command = fc.oneof(
      fc.record({
        kind: fc.constantFrom('read' as const, 'write' as const),
        root: fc.nat(1),
        offset: fc.nat(7000),
        bytes: fc.integer({ min: 1, max: 1000 }),
      }),
      fc.record({ kind: fc.constant('begin' as const), node: fc.nat(2) }),
      fc.record({ kind: fc.constant('end' as const), which: fc.nat(3) }),
      fc.record({ kind: fc.constant('finish' as const), which: fc.nat(9) }),
    )
    await fc.assert(
      fc.asyncProperty(fc.array(command, { minLength: 5, maxLength: 40 }), async (commands) => {
        const { base, io, nodes, roots } = world()
        const open = new Set<DrainedSection>()
        const begins: Promise<void>[] = []
        const requests: Promise<void>[] = []
        const check = () => {
          for (const section of open) {
            for (const node of nodes) if (section.covers(node)) expect(node.state.inFlight, node.nodeName).toBe(0)
          }
        }
        const settle = async () => {
          await drainMicrotasks()
          check()
        }
        for (const one of commands) {
          if ('bytes' in one) {
            const root = roots[one.root] ?? expect.fail('no root')
            const data = new Uint8Array(one.bytes)
            requests.push(
              one.kind === 'read' ? backendRead(root, one.offset, data) : backendWrite(root, one.offset, data),
            )
          } else if (one.kind === 'begin') {
            const node = nodes[one.node] ?? base
            begins.push(drained(node).then((section) => void open.add(section)))
          } else if (one.kind === 'end') {
            const section = [...open][one.which % Math.max(open.size, 1)]
            if (section !== undefined) {
              open.delete(section)
              section.end()
            }
          } else io.held.splice(one.which % Math.max(io.held.length, 1), 1)[0]?.finish()
          await settle()
        }
        for (let idle = 0; idle < 3; ) {
          for (const section of open) {
            open.delete(section)
            section.end()
          }
          if (io.held.length === 0) idle++
          else idle = 0
          io.releaseAll()
          await settle()
        }
        expect(nodes.map((node) => [node.state.quiesceCounter, node.state.inFlight])).toEqual(nodes.map(() => [0, 0]))
        expect(roots.map((root) => [root.quiesced, root.inFlight, root.held.size])).toEqual(roots.map(() => [0, 0, 0]))
        expect(base.state.environment.drainWaiters.size).toBe(0)
        await Promise.all([...begins, ...requests])
      }),
      { numRuns: 150 },
    )
  })
})
