import { describe, expect, it } from 'vitest'
import { BlockError } from '../../../src/common/error.js'
import { BDRV_REQ_FUA } from '../../../src/common/request.js'
import { backendBlockStatus } from '../../../src/io/backend/block-status.js'
import { backendCopyRange } from '../../../src/io/backend/copy-range.js'
import { backendDiscard } from '../../../src/io/backend/discard.js'
import { resetStatus } from '../../../src/io/backend/error-policy.js'
import { backendFlush } from '../../../src/io/backend/flush.js'
import { backendRead } from '../../../src/io/backend/read.js'
import { closeRoot, measureLatency, resumeParked } from '../../../src/io/backend/root.js'
import { submitFlush, submitRead, submitWrite } from '../../../src/io/backend/submit.js'
import { backendLength, backendTruncate } from '../../../src/io/backend/truncate.js'
import { backendWrite } from '../../../src/io/backend/write.js'
import { backendWriteZeroes } from '../../../src/io/backend/write-zeroes.js'
import { drained } from '../../../src/io/drained.js'
import { createEnvironment } from '../../../src/io/environment.js'
import { memoryNode, rootOn, type StubEdge, unlink } from '../../support/stub-graph.js'
import { settled, VirtualClock } from '../../support/virtual-clock.js'

const bytes = (length: number, fill = 7) => new Uint8Array(length).fill(fill)

describe('a backend', () => {
  it('hands out one shared promise for what is done already', () => {
    const { node } = memoryNode(4096)
    const root = rootOn(node)
    expect(backendRead(root, 0, bytes(512))).toBe(backendWrite(root, 0, bytes(512)))
  })

  it('refuses what is out of range, malformed or without a medium, as rejections that count as invalid', async () => {
    const { node } = memoryNode(4096)
    const root = rootOn(node)
    await expect(backendRead(root, 4000, bytes(512))).rejects.toMatchObject({ code: 'EIO', node: 'disk' })
    await expect(backendWrite(root, 4096, bytes(1))).rejects.toMatchObject({ code: 'EIO' })
    await expect(backendWriteZeroes(root, 0, -1)).rejects.toMatchObject({ code: 'EINVAL' })
    await expect(backendDiscard(root, 0.5, 1)).rejects.toMatchObject({ code: 'EINVAL' })
    root.allowWriteBeyondEof = true
    await backendWrite(root, 4000, bytes(512))
    expect(backendLength(root)).toBe(4512)
    unlink(root.edge as StubEdge)
    await expect(backendRead(root, 0, bytes(512))).rejects.toMatchObject({ code: 'ENOMEDIUM' })
    await expect(backendFlush(root)).rejects.toMatchObject({ code: 'ENOMEDIUM' })
    expect(() => backendLength(root)).toThrow(expect.objectContaining({ code: 'ENOMEDIUM' }))
    expect(() => submitRead(root, 0, bytes(1))).toThrow(expect.objectContaining({ code: 'ENOMEDIUM' }))
    const { read, write, flush, unmap } = root.accounting
    expect([read.invalid, write.invalid, flush.invalid, unmap.invalid]).toEqual([3, 2, 1, 1])
    expect([read.failed, write.failed]).toEqual([0, 0])
  })

  it('counts operations and bytes that succeeded, and those that failed', async () => {
    const { node, io } = memoryNode(4096)
    const root = rootOn(node)
    await backendRead(root, 0, bytes(512))
    submitWrite(root, 0, bytes(1024))
    await backendWriteZeroes(root, 0, 100)
    await submitFlush(root)
    io.mode = 'async'
    await backendRead(root, 0, bytes(100))
    io.failure = () => new BlockError('EIO', 'no')
    await expect(backendRead(root, 0, bytes(1))).rejects.toMatchObject({ code: 'EIO' })
    io.mode = 'sync'
    await expect(backendRead(root, 0, bytes(1))).rejects.toMatchObject({ code: 'EIO' })
    expect(() => submitRead(root, 0, bytes(1))).toThrow()
    expect(root.accounting.read).toMatchObject({ operations: 2, bytes: 612, failed: 3 })
    expect(root.accounting.write).toMatchObject({ operations: 2, bytes: 1124, failed: 0 })
    expect(root.accounting.flush).toMatchObject({ operations: 1 })
    expect(root.inFlight).toBe(0)
  })

  it('measures latency where asked', async () => {
    const clock = new VirtualClock()
    const { node, io } = memoryNode(4096, { environment: createEnvironment({ clock }) })
    const root = rootOn(node)
    measureLatency(root, true)
    io.mode = 'held'
    const request = backendRead(root, 0, bytes(512))
    clock.set(3)
    await settled()
    io.releaseAll()
    await request
    expect(root.accounting.read.latency).toMatchObject({ count: 1, totalMs: 3, minMs: 3, maxMs: 3 })
    measureLatency(root, false)
    expect(root.accounting.read.latency).toBeUndefined()
    expect(root.gates).toBe(0)
  })

  it('measures no request that began before it was asked to', async () => {
    const clock = new VirtualClock()
    const { node, io } = memoryNode(4096, { environment: createEnvironment({ clock }) })
    const root = rootOn(node)
    clock.set(1000)
    io.mode = 'held'
    const request = backendRead(root, 0, bytes(512), {})
    await settled()
    measureLatency(root, true)
    io.releaseAll()
    await request
    expect(root.accounting.read.latency).toMatchObject({ count: 0, totalMs: 0 })
  })

  it('starts what it held also where its client fails to hear of the end of the section', async () => {
    const { node } = memoryNode(4096)
    const root = rootOn(node)
    root.client = {
      drainedEnd: () => {
        throw new Error('client')
      },
    }
    const quiet = await drained(node)
    const request = backendRead(root, 0, bytes(512))
    quiet.end()
    await settled()
    expect(root.held.size).toBe(0)
    await request
  })

  it('copies stably with the write cache off, though drivers copy without FUA', async () => {
    const { source, target, calls } = copyPair()
    const from = rootOn(source)
    await backendCopyRange(from, 0, rootOn(target), 0, 512)
    await backendCopyRange(from, 0, rootOn(target, { writeCache: false }), 0, 512)
    expect(calls).toEqual(['copy 0', 'copy 0', 'flush'])
    expect(target.state.inFlight).toBe(0)
  })

  it('a copy held at one root is in flight at neither: a section on the other begins and ends', async () => {
    const { source, target, calls } = copyPair()
    const from = rootOn(source)
    const to = rootOn(target)
    const below = await drained(target)
    const copy = backendCopyRange(from, 0, to, 0, 512)
    await settled()
    expect([from.inFlight, to.inFlight]).toEqual([0, 0])
    const above = await drained(source)
    below.end()
    await settled()
    expect(calls).toEqual([])
    above.end()
    await copy
    expect(calls).toEqual(['copy 0'])
    expect(from.accounting.other).toMatchObject({ operations: 1, bytes: 512 })
  })

  it('makes writes stable with the write cache off', async () => {
    const { node, io } = memoryNode(4096, { writeFlags: BDRV_REQ_FUA })
    const root = rootOn(node, { writeCache: false })
    await backendWrite(root, 0, bytes(512))
    submitWrite(root, 0, bytes(512))
    root.writeCache = true
    await backendWrite(root, 0, bytes(512))
    expect(io.calls.map((call) => call.flags)).toEqual([BDRV_REQ_FUA, BDRV_REQ_FUA, 0])
  })

  it('truncates and tells status', async () => {
    const root = rootOn(memoryNode(4096).node)
    await backendTruncate(root, 512)
    expect(await backendBlockStatus(root, 0, 4096)).toMatchObject({ bytes: 512 })
  })
})

function copyPair() {
  const calls: string[] = []
  const { node: source } = memoryNode(4096)
  const { node: target, io } = memoryNode(4096, { environment: source.state.environment })
  source.io.copyRangeFrom = (offset, to, at, count, flags) => to.copyFrom({ node: source }, offset, at, count, flags)
  target.io.copyRangeTo = (_leaf, _from, _offset, _count, flags) => void calls.push(`copy ${flags}`)
  io.flush = () => void calls.push('flush')
  return { source, target, calls }
}

describe('the turn budget', () => {
  it('is spent by queries and by failures as well', async () => {
    const clock = new VirtualClock()
    const { node } = memoryNode(4096, { environment: createEnvironment({ clock }) })
    const status = rootOn(node)
    const queries = Array.from({ length: 256 }, () => backendBlockStatus(status, 0, 512))
    await settled()
    expect(clock.turns).toBe(1)
    await clock.turn()
    await Promise.all(queries)
    const failing = rootOn(node)
    const failures = Array.from({ length: 256 }, () => backendRead(failing, 9999, bytes(1)))
    const outcomes = Promise.allSettled(failures)
    await settled()
    expect(clock.turns).toBe(1)
    await clock.turn()
    expect((await outcomes).every(({ status }) => status === 'rejected')).toBe(true)
  })

  it('settles on a new turn after 256 completions, all further ones with it', async () => {
    const clock = new VirtualClock()
    const { node } = memoryNode(4096, { environment: createEnvironment({ clock }) })
    const root = rootOn(node)
    const first = backendRead(root, 0, bytes(512))
    let delayed = 0
    let last = first
    for (let i = 1; i < 300; i++) {
      last = backendRead(root, 0, bytes(512))
      if (last !== first) delayed++
    }
    expect(delayed).toBe(300 - 255)
    expect(clock.turns).toBe(1)
    expect(clock.reads).toBeLessThan(12)
    let done = false
    const watch = last.then(() => {
      done = true
    })
    await settled()
    expect(done).toBe(false)
    clock.set(9)
    await clock.turn()
    await watch
    expect(node.state.environment.coarseNow).toBe(9)
    expect(backendRead(root, 0, bytes(512))).toBe(first)
  })

  it('settles on a new turn after 1 ms, as far as it looks at the clock', async () => {
    const clock = new VirtualClock()
    const { node } = memoryNode(4096, { environment: createEnvironment({ clock }) })
    const root = rootOn(node)
    const first = backendRead(root, 0, bytes(512))
    clock.set(1)
    for (let i = 0; i < 40; i++) void backendRead(root, 0, bytes(512))
    expect(clock.turns).toBe(1)
    expect(backendRead(root, 0, bytes(512))).not.toBe(first)
    await clock.turn()
  })

  it('holds for promises as well: a driver may settle within the turn', async () => {
    const clock = new VirtualClock()
    const { node, io } = memoryNode(4096, { environment: createEnvironment({ clock }) })
    io.mode = 'async'
    const root = rootOn(node)
    let done = 0
    const all = Array.from({ length: 300 }, () => backendRead(root, 0, bytes(16)).then(() => done++))
    await settled()
    expect(done).toBe(255)
    await clock.turn()
    await Promise.all(all)
  })
})

describe('error policies', () => {
  const failing = (
    code: 'EIO' | 'ENOSPC',
    onWriteError: 'report' | 'ignore' | 'enospc' | 'stop' | 'auto',
    mode: 'sync' | 'async',
  ) => {
    const { node, io } = memoryNode(4096)
    const events: unknown[] = []
    node.state.environment.trace.listen((name, event) => {
      if (name === 'io-error') events.push(event)
    })
    io.mode = mode
    io.failure = () => new BlockError(code, 'no')
    return { root: rootOn(node, { onWriteError, onReadError: onWriteError }), io, node, events }
  }

  it.each(['sync', 'async'] as const)(
    'report rejects, ignore resolves and leaves no old bytes in a read (%s)',
    async (mode) => {
      const report = failing('EIO', 'report', mode)
      await expect(backendWrite(report.root, 0, bytes(1))).rejects.toMatchObject({ code: 'EIO' })
      expect(report.events).toMatchObject([{ backend: 'disk', kind: 'write', action: 'report', code: 'EIO' }])
      const ignore = failing('EIO', 'ignore', mode)
      await backendWrite(ignore.root, 0, bytes(1))
      const into = bytes(4)
      await backendRead(ignore.root, 0, into)
      expect([...into]).toEqual([0, 0, 0, 0])
      expect(ignore.root.status).toBe('ok')
    },
  )

  it.each(['sync', 'async'] as const)(
    'stop parks the request, which leaves all counts, until resumed (%s)',
    async (mode) => {
      const { root, io, node, events } = failing('ENOSPC', 'enospc', mode)
      let done = false
      const request = backendWrite(root, 0, bytes(512)).then(() => {
        done = true
      })
      await settled()
      expect(done).toBe(false)
      expect([root.status, root.parked.size, root.inFlight, node.state.inFlight]).toEqual(['nospace', 1, 0, 0])
      expect(events).toMatchObject([{ action: 'stop' }])
      const quiet = await drained(node)
      quiet.end()
      resumeParked(root)
      await settled()
      expect([done, root.parked.size]).toEqual([false, 1])
      io.failure = undefined
      resumeParked(root)
      await request
      expect(io.bytes[0]).toBe(7)
      expect(root.status).toBe('nospace')
      resetStatus(root)
      expect(root.status).toBe('ok')
      expect(root.accounting.write).toMatchObject({ operations: 1, failed: 2 })
    },
  )

  it('auto and enospc report other errors; the first status sticks', async () => {
    const { root, io } = failing('EIO', 'auto', 'sync')
    await expect(backendWrite(root, 0, bytes(1))).rejects.toMatchObject({ code: 'EIO' })
    root.onWriteError = 'stop'
    const parked = backendWrite(root, 0, bytes(1))
    await settled()
    io.failure = () => new BlockError('ENOSPC', 'no')
    const other = backendWrite(root, 0, bytes(1))
    await settled()
    expect(root.status).toBe('failed')
    closeRoot(root)
    for (const each of [parked, other]) await expect(each).rejects.toMatchObject({ code: 'ECANCELED' })
  })

  it('a parked request ends when its signal aborts; one refused by the backend is never parked', async () => {
    const { root } = failing('EIO', 'stop', 'sync')
    const abort = new AbortController()
    const request = backendWrite(root, 0, bytes(1), { signal: abort.signal })
    await settled()
    abort.abort()
    await expect(request).rejects.toMatchObject({ code: 'ECANCELED' })
    expect(root.parked.size).toBe(0)
    await expect(backendWrite(root, 9999, bytes(1))).rejects.toMatchObject({ code: 'EIO' })
  })
})
