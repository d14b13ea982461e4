import { describe, expect, it } from 'vitest'
import { BLK_PERM_ALL, BLK_PERM_WRITE } from '../../../src/common/permissions.js'
import { openDiskWith } from '../../../src/disk/open-disk.js'
import { builtinDrivers } from '../../../src/drivers/index.js'
import { createBackend } from '../../../src/global-state/backend.js'
import { insertNode } from '../../../src/global-state/edit/graph-edit.js'
import { BlockGraph } from '../../../src/global-state/graph.js'
import { openNode } from '../../../src/global-state/life/open.js'
import { drained } from '../../../src/io/drained.js'
import { counting, refusal } from '../../support/disks.js'

const open = (...args: Parameters<typeof openDiskWith> extends [unknown, ...infer Rest] ? Rest : never) =>
  openDiskWith(builtinDrivers, ...args)

describe('what is opened', () => {
  it('may be options, nested or dotted, or a json: name', async () => {
    const targets = [
      { driver: 'raw', file: { driver: 'memory', size: 8192 } },
      { driver: 'raw', 'file.driver': 'memory', 'file.size': '8k' },
      'json:{"driver": "raw", "file": {"driver": "memory", "size": 8192}}',
    ]
    for (const target of targets) {
      await using disk = await open(target)
      expect([disk.size, disk.node.driver.name]).toEqual([8192, 'raw'])
      await disk.write(1, counting(10))
    }
  })

  it('keeps what a json: name says where nothing else is said', async () => {
    const name = 'json:{"driver": "memory", "size": 4096, "read-only": true}'
    await using disk = await open(name)
    expect(disk.node.readOnly).toBe(true)
    await using writable = await open(name, { readOnly: false })
    expect(writable.node.readOnly).toBe(false)
  })

  it('is refused where it makes no sense, and leaves nothing open', async () => {
    const graph = new BlockGraph({ drivers: builtinDrivers })
    const memory = { driver: 'memory', size: 4096 }
    const cases: [Parameters<typeof open>[0], Parameters<typeof open>[1], RegExp][] = [
      [{ ...memory, sise: 1 }, {}, /memory.*sise|sise.*memory/],
      [{ ...memory, size: 'much' }, {}, /size/],
      [{ driver: 'memry' }, {}, /memry/],
      [{ size: 4096 }, {}, /driver/],
      [memory, { format: 'raw' }, /format/],
      [memory, { options: { 'read-only': 'perhaps' } }, /read-only/],
      [memory, { forceShare: true }, /force-share/],
      ['json:{"driver": "memory"', {}, /json/i],
    ]
    for (const [target, options, message] of cases) {
      const error = await refusal(open(target, { ...options, graph }))
      expect(error).toMatchObject({ code: 'EINVAL', message: expect.stringMatching(message) })
    }
    expect([graph.nodes.size, graph.backends.size]).toEqual([0, 0])
  })
})

describe('access', () => {
  it('is refused to writers where the disk is read-only', async () => {
    await using disk = await open({ driver: 'memory', size: 4096 }, { readOnly: true })
    expect(await refusal(disk.write(0, counting(1)))).toMatchObject({ code: 'EPERM' })
    expect(await refusal(disk.resize(1))).toMatchObject({ code: expect.stringMatching(/EPERM|EACCES/) })
    expect(await disk.read(0, 1)).toEqual(new Uint8Array(1))
  })

  it('to write is shared with nobody', async () => {
    await using disk = await open({ driver: 'memory', size: 4096 }, { name: 'vda' })
    const { graph, node } = disk
    const second = graph.mainLoop((main) => createBackend(main, graph, { node, perm: BLK_PERM_WRITE }))
    expect(await refusal(second)).toMatchObject({ code: 'EPERM', message: expect.stringContaining('vda') })
  })
})

describe("a disk on a caller's graph", () => {
  it('leaves the rest of the graph alone', async () => {
    const graph = new BlockGraph({ drivers: builtinDrivers })
    const shared = await graph.mainLoop((main) =>
      openNode(main, graph, { driver: 'memory', 'node-name': 'm', size: 4096 }),
    )
    const disk = await open({ driver: 'raw', file: 'm' }, { graph })
    await disk.write(0, counting(16))
    await disk.close()
    expect([...graph.nodes.values()]).toEqual([shared])
    await using again = await open({ driver: 'raw', file: 'm' }, { graph })
    expect(await again.read(0, 16)).toEqual(counting(16))
  })

  it('stays open below while others use its node', async () => {
    const graph = new BlockGraph({ drivers: builtinDrivers })
    const disk = await open({ driver: 'memory', size: 4096 }, { graph })
    const { node } = disk
    const reader = await graph.mainLoop((main) => createBackend(main, graph, { node, shared: BLK_PERM_ALL }))
    await disk.close()
    expect(node.closed).toBe(false)
    await graph.mainLoop((main) => reader.close(main))
    expect(node.closed).toBe(true)
  })

  it('lets go of what it opened also where a filter was put above', async () => {
    const graph = new BlockGraph({ drivers: builtinDrivers })
    const disk = await open({ driver: 'memory', size: 4096 }, { graph })
    await insertThrottle(graph, disk.node.nodeName)
    expect(disk.node.driver.name).toBe('throttle')
    await disk.close()
    // The filter was opened by somebody else, who holds it, and with it the node below.
    expect([...graph.nodes.values()].map((node) => node.driver.name)).toEqual(['memory', 'throttle'])
    expect([...graph.nodes.values()].map((node) => node.holds)).toEqual([0, 1])
  })
})

describe('a disk on a graph of its own', () => {
  it('takes all of the graph with it', async () => {
    const disk = await open({ driver: 'memory', size: 4096 })
    await insertThrottle(disk.graph, disk.node.nodeName)
    await disk.graph.mainLoop((main) => openNode(main, disk.graph, { driver: 'memory', size: 1 }))
    await disk.close()
    expect(disk.graph.nodes.size).toBe(0)
  })
})

function insertThrottle(graph: BlockGraph, name: string): Promise<void> {
  return graph.mainLoop(async (main) => {
    const node = graph.node(name)
    const quiet = await drained(node)
    try {
      await insertNode(main, quiet, node, { driver: 'throttle', file: name })
    } finally {
      quiet.end()
    }
  })
}
