import { describe, expect, it } from 'vitest'
import { reportRequests } from '../../../src/io/ancestors.js'
import { createEnvironment } from '../../../src/io/environment.js'
import { read } from '../../../src/io/read.js'
import { edgeOn, memoryNode } from '../../support/stub-graph.js'
import { VirtualClock } from '../../support/virtual-clock.js'

function lateDisk() {
  const clock = new VirtualClock()
  const { node, io } = memoryNode(1 << 20, { environment: createEnvironment({ clock }) })
  const edge = edgeOn(node)
  io.mode = 'held'
  const issue = () => read(edge, 0, new Uint8Array(512))
  const ages = () => reportRequests(node.state, clock.now()).map(({ ageMs }) => ageMs)
  return { clock, io, issue, ages }
}

describe('the age of a request', () => {
  it('begins with the request after a pause, though nobody looked at the clock meanwhile', async () => {
    const { clock, io, issue, ages } = lateDisk()
    await clock.advance(3_600_000)
    const pending = issue()
    await clock.advance(7)
    expect(ages()).toEqual([7])
    io.releaseAll()
    await pending
  })

  it('is no older than 64 requests under a steady load, and costs one look at the clock in as many', async () => {
    const { clock, io, issue, ages } = lateDisk()
    const pending = [issue()]
    await clock.advance(1000)
    const reads = clock.reads
    for (let i = 0; i < 64; i++) pending.push(issue())
    expect(clock.reads - reads).toBe(1)
    await clock.advance(5)
    expect(Math.min(...ages())).toBe(5)
    io.releaseAll()
    await Promise.all(pending)
  })
})
