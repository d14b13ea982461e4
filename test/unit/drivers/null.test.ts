import { describe, expect, it } from 'vitest'
import { BDRV_BLOCK_OFFSET_VALID, BDRV_BLOCK_ZERO } from '../../../src/common/block-status.js'
import { GiB } from '../../../src/common/units.js'
import { nullAioDriver, nullCoDriver } from '../../../src/drivers/null.js'
import { blockStatus } from '../../../src/io/block-status.js'
import { VirtualClock } from '../../../src/testing/virtual-clock.js'
import { codeOf, openRig } from '../../support/driver-rig.js'

describe('null', () => {
  it('null-co completes before it returns', async () => {
    const { node, close } = await openRig({ driver: 'null-co', 'read-zeroes': true })
    const into = new Uint8Array(512).fill(9)
    expect(node.io.read(0, into, 0)).toBeUndefined()
    expect(into.every((byte) => byte === 0)).toBe(true)
    expect(node.io.write?.(0, into, 0)).toBeUndefined()
    expect(node.io.flush?.()).toBeUndefined()
    expect(node.state.length).toBe(GiB)
    expect(await close()).toBe(0)
  })

  it('null-aio completes later, by the same promise for every request', async () => {
    const { node, close } = await openRig({ driver: 'null-aio' })
    const first = node.io.write?.(0, new Uint8Array(512), 0)
    expect(first).toBeInstanceOf(Promise)
    expect(node.io.read(0, new Uint8Array(512), 0)).toBe(first)
    await close()
  })

  it.each(['null-co', 'null-aio'])('%s takes its latency on the clock of the graph', async (driver) => {
    const clock = new VirtualClock()
    const { backend, close } = await openRig({ driver, 'latency-ns': 2_500_000 }, { clock })
    let done = false
    const request = backend.read(0, new Uint8Array(512)).then(() => {
      done = true
    })
    await clock.advance(2)
    expect(done).toBe(false)
    await clock.advance(0.5)
    expect(done).toBe(true)
    await request
    await close()
  })

  it('leaves the buffer alone unless read-zeroes is set', async () => {
    const { backend, close } = await openRig({ driver: 'null-co', size: 4096 })
    const into = new Uint8Array(4096).fill(7)
    await backend.read(0, into)
    expect(into.every((byte) => byte === 7)).toBe(true)
    await close()
  })

  it('says where it reads as zeroes', async () => {
    const { node, close } = await openRig({ driver: 'null-co', size: 4096, 'read-zeroes': true })
    const status = await blockStatus(node, 0, 4096)
    expect(status.bits & (BDRV_BLOCK_ZERO | BDRV_BLOCK_OFFSET_VALID)).toBe(BDRV_BLOCK_ZERO | BDRV_BLOCK_OFFSET_VALID)
    expect(status.bytes).toBe(4096)
    await close()
  })

  it('takes no file name but its own', async () => {
    expect(nullCoDriver.parseFilename?.('null-co://')).toEqual({})
    expect(await codeOf(() => nullAioDriver.parseFilename?.('null-aio://disk'))).toBe('EINVAL')
    expect(await codeOf(() => openRig({ driver: 'null-co', size: -1 }))).toBe('EINVAL')
  })
})
