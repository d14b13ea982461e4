import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { afterEach, describe, expect, it } from 'vitest'
import { publishEvents } from '../../../src/platform/diagnostics.js'
import { createGraph, openDisk } from '../../../src/platform/open-disk.js'
import { refusal } from '../../support/disks.js'

const stops: (() => void)[] = []
afterEach(() => {
  for (const stop of stops.splice(0)) stop()
})

function hear(event: string): unknown[] {
  const heard: unknown[] = []
  const name = `blockgraph:${event}`
  const listener = (message: unknown) => heard.push(message)
  subscribe(name, listener)
  stops.push(() => unsubscribe(name, listener))
  return heard
}

describe('diagnostics channels', () => {
  it('tell what happens to a disk, each event on a channel of its own', async () => {
    const [opened, closed, resized] = [hear('node-opened'), hear('node-closed'), hear('resized')]
    const disk = await openDisk({ driver: 'memory', 'node-name': 'm', size: 4096 })
    await disk.resize(8192)
    await disk.close()
    const { graph } = disk
    expect(opened).toEqual([{ graph, node: 'm', driver: 'memory' }])
    expect(resized).toEqual([{ graph, node: 'm', length: 8192 }])
    expect(closed).toEqual([{ graph, node: 'm', driver: 'memory' }])
  })

  it('tell of requests that failed', async () => {
    const errors = hear('io-error')
    const rule = { event: 'read_aio', errno: 'EIO' }
    const options = { driver: 'blkdebug', file: { driver: 'memory', size: 4096 }, 'inject-error': [rule] }
    await using disk = await openDisk(options, { name: 'vda' })
    expect(await refusal(disk.read(0, 512))).toMatchObject({ code: 'EIO' })
    expect(errors).toEqual([expect.objectContaining({ backend: 'vda', kind: 'read', action: 'report', code: 'EIO' })])
  })

  it('can be stopped for a graph', async () => {
    const opened = hear('node-opened')
    const graph = createGraph()
    const stop = publishEvents(graph)
    await (await openDisk({ driver: 'memory', size: 1 }, { graph })).close()
    expect(opened).toHaveLength(2)
    stop()
    await (await openDisk({ driver: 'memory', size: 1 }, { graph })).close()
    expect(opened).toHaveLength(3)
  })
})
