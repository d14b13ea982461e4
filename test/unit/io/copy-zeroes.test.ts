// The writing half of a copy where the reading half has found nothing but zeroes.

import { describe, expect, test } from 'vitest'
import { BDRV_REQ_ZERO_WRITE } from '../../../src/common/request.js'
import { copyRangeTo } from '../../../src/io/copy-range.js'
import { codeOf } from '../../support/code-of.js'
import { edgeOn, MemoryIo, StubNode, without } from '../../support/stub-graph.js'

/** A node of 64 KiB of ones that can copy, and says so. */
function target(requestAlignment: number, zeroes = true) {
  const io = Object.assign(new MemoryIo(new Uint8Array(65_536).fill(1)), { copies: 0 })
  const copying = Object.assign(io, {
    copyRangeTo() {
      io.copies++
    },
  })
  if (!zeroes) without(copying, 'writeZeroes')
  const node = new StubNode(copying, { limits: { requestAlignment } })
  const copy = (offset: number, bytes: number) =>
    copyRangeTo(edgeOn(node), { node }, 0, offset, bytes, BDRV_REQ_ZERO_WRITE)
  return { io, copy }
}

describe('zeroes at the end of a copy', () => {
  test('are zeroed by the driver, which has nothing to copy', async () => {
    const { io, copy } = target(512)
    await copy(1024, 4096)
    expect([io.copies, io.bytes[1023], io.bytes[1024], io.bytes[5119], io.bytes[5120]]).toEqual([0, 1, 0, 0, 1])
    expect(io.calls.map(({ op, offset, bytes }) => [op, offset, bytes])).toEqual([['write-zeroes', 1024, 4096]])
  })

  test('are written where the driver cannot zero', async () => {
    const { io, copy } = target(512, false)
    await copy(1024, 4096)
    expect([io.copies, io.bytes[1023], io.bytes[1024], io.bytes[5119], io.bytes[5120]]).toEqual([0, 1, 0, 0, 1])
    expect(io.calls.every(({ op }) => op === 'write')).toBe(true)
  })

  test('are refused between the boundaries of the node: ENOTSUP, and nothing is changed', async () => {
    const { io, copy } = target(4096)
    expect([await codeOf(() => copy(1024, 4096)), await codeOf(() => copy(4096, 1000))]).toEqual(['ENOTSUP', 'ENOTSUP'])
    expect(io.calls).toEqual([])
  })
})
