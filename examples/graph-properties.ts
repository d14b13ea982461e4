// Property tests of a user's own filter: put in and taken out while requests run in any order, it loses nothing and the graph keeps
// its invariants; and a refused edit changes nothing. The same property finds what is wrong with a filter that is too eager.
// Usage: node build/examples/graph-properties.js [seed]

import assert from 'node:assert/strict'
import {
  BDRV_CHILD_FILTERED,
  BDRV_CHILD_PRIMARY,
  BLK_PERM_ALL,
  type BlockBackend,
  type BlockChild,
  BlockError,
  BlockGraph,
  type Bytes,
  builtinDrivers,
  type Completion,
  createBackend,
  defineDriver,
  drained,
  dropFilter,
  insertNode,
  openNode,
  read,
  write,
} from 'blockgraph'
import {
  type ArbitraryRequest,
  Controller,
  checkInvariants,
  controlledDriver,
  graphModelProperty,
  nodeOptions,
  permissionInvariants,
  permissionPair,
  request,
  requestInvariants,
  serialiseGraph,
  structureInvariants,
} from 'blockgraph/testing'
import fc from 'fast-check'

const LANE = 8192
const LANES = 3
const invariants = [...structureInvariants, ...permissionInvariants, ...requestInvariants]

/** A filter; `passWrite` is where the good one and the bad one differ. */
function filterDriver(name: string, passWrite: (file: BlockChild, offset: number, data: Bytes) => Completion) {
  return defineDriver({
    name,
    kind: 'filter',
    options: {},
    childNames: ['file'],
    async open(context) {
      const file = await context.child('file', BDRV_CHILD_FILTERED | BDRV_CHILD_PRIMARY)
      return {
        state: undefined,
        io: {
          length: () => file.node.state.length,
          read: (offset, into) => read(file, offset, into),
          write: (offset, data) => passWrite(file, offset, data),
        },
      }
    },
  })
}

const good = filterDriver('good', (file, offset, data) => write(file, offset, data))
/** Says that a write is done while it is still on its way. */
const eager = filterDriver('eager', (file, offset, data) => {
  write(file, offset, data)?.catch(() => {})
})

/** Requests one after the other inside a lane of the disk, compared with a plain buffer. Lanes run side by side. */
async function runLane(disk: BlockBackend, lane: number, requests: readonly ArbitraryRequest[]): Promise<void> {
  const base = lane * LANE
  const flat = new Uint8Array(LANE)
  for (const [i, { kind, offset, bytes }] of requests.entries()) {
    if (kind === 'read') {
      const got = new Uint8Array(bytes)
      await disk.read(base + offset, got)
      assert.deepEqual(got, flat.slice(offset, offset + bytes))
    } else if (kind === 'write') {
      await disk.write(base + offset, new Uint8Array(bytes).fill(i + 1))
      flat.fill(i + 1, offset, offset + bytes)
    } else {
      await disk.writeZeroes(base + offset, bytes)
      flat.fill(0, offset, offset + bytes)
    }
  }
}

/** Puts the filter in and takes it out again, under the lanes; `pause` lets requests through between two edits. */
async function editGraph(graph: BlockGraph, driver: string, times: number, pause: () => Promise<void>): Promise<void> {
  const edit = async (insert: boolean) =>
    graph.mainLoop(async (main) => {
      const nodes = insert ? [graph.node('disk')] : [graph.node('disk'), graph.node('filter')]
      const quiet = await drained(...nodes)
      try {
        const options = { driver, 'node-name': 'filter', file: 'disk' }
        if (insert) await insertNode(main, quiet, graph.node('disk'), options)
        else await dropFilter(main, quiet, graph.node('filter'))
        checkInvariants(invariants, { graph, editing: false }, false)
      } finally {
        quiet.end()
      }
    })
  for (let i = 0; i < times * 2; i++) {
    await edit(i % 2 === 0)
    await pause()
  }
}

/** Fan-out that waits for everybody, as the library itself does, and then tells the first failure. */
async function everyone(tasks: Promise<void>[]): Promise<void> {
  for (const task of await Promise.allSettled(tasks)) if (task.status === 'rejected') throw task.reason
}

const lane = fc.array(request({ length: LANE, maxBytes: 2000, kinds: ['read', 'write', 'write-zeroes'] }), {
  maxLength: 8,
})

/** Whatever completes in whatever order, a filter that comes and goes changes no byte. */
function transparent(driver: string) {
  const lanes = fc.array(lane, { minLength: LANES, maxLength: LANES })
  return fc.asyncProperty(fc.scheduler(), lanes, fc.nat(3), async (scheduler, requests, times) => {
    const controller = new Controller((task, label) => scheduler.schedule(task, label))
    const graph = new BlockGraph({ drivers: [...builtinDrivers, controlledDriver(controller), good, eager] })
    const disk = await graph.mainLoop(async (main) => {
      const node = await openNode(main, graph, { driver: 'controlled', 'node-name': 'disk', size: LANES * LANE })
      return createBackend(main, graph, { node, perm: BLK_PERM_ALL, shared: BLK_PERM_ALL })
    })
    const pause = () => scheduler.schedule(Promise.resolve(), 'between edits')
    const users = requests.map((list, i) => runLane(disk, i, list))
    await scheduler.waitFor(everyone([...users, editGraph(graph, driver, times, pause)]))
    checkInvariants(invariants, { graph, editing: false }, true)
  })
}

/** On any graph, a user whose wishes conflict with others is refused, and the graph is byte for byte what it was. */
const refusalChangesNothing = fc.asyncProperty(
  nodeOptions({ maxDepth: 3 }),
  fc.array(permissionPair(), { maxLength: 5 }),
  async (options, wishes) => {
    const graph = new BlockGraph({ drivers: builtinDrivers })
    await graph.mainLoop(async (main) => {
      const node = await openNode(main, graph, options)
      for (const wish of wishes) {
        const before = serialiseGraph(graph)
        try {
          await createBackend(main, graph, { node, ...wish })
        } catch (error) {
          assert(error instanceof BlockError && error.code === 'EPERM', String(error))
          assert.equal(serialiseGraph(graph), before)
        }
        checkInvariants(invariants, { graph, editing: false }, true)
      }
    })
  },
)

const settings = process.argv[2] === undefined ? {} : { seed: Number(process.argv[2]) }
await fc.assert(transparent('good'), { numRuns: 100, ...settings })
console.log('a filter that comes and goes under load: 100 runs, no byte lost')
await fc.assert(refusalChangesNothing, { numRuns: 200, ...settings })
console.log('refused users: 200 runs, nothing changed')
await fc.assert(graphModelProperty(), { numRuns: 25, ...settings })
console.log("the library's own model of a graph: 25 runs, every invariant kept")
const { failed, numRuns, numShrinks } = await fc.check(transparent('eager'), { numRuns: 200, ...settings })
assert(failed, 'the eager filter was not found out')
console.log(`an eager filter: found in run ${numRuns}, made small in ${numShrinks} steps`)
