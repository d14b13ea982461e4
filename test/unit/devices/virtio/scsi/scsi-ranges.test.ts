import { describe, expect, test } from 'vitest'
import { BDRV_REQ_MAY_UNMAP } from '../../../../../src/common/request.js'
import { shape } from '../../../../support/blk-runs.js'
import { ScsiMachine } from '../../../../support/scsi-machine.js'

const sense = (key: number, asc: number, ascq = 0) => ({ key, asc, ascq })

function started(options: Parameters<ScsiMachine['attach']>[0] = {}): ScsiMachine {
  const made = new ScsiMachine()
  made.attach(options)
  return made.start()
}

const calls = (made: ScsiMachine) => made.disks[0]?.calls.map(shape)

describe('UNMAP and WRITE SAME', () => {
  function list(...ranges: [number, number][]): Uint8Array {
    const bytes = new Uint8Array(8 + 16 * ranges.length)
    const view = new DataView(bytes.buffer)
    view.setUint16(0, bytes.length - 2)
    view.setUint16(2, 16 * ranges.length)
    ranges.forEach(([lba, blocks], i) => {
      view.setUint32(12 + 16 * i, lba)
      view.setUint32(16 + 16 * i, blocks)
    })
    return bytes
  }
  const unmap = (out: Uint8Array, anchor = 0) => ({ cdb: [0x42, anchor, 0, 0, 0, 0, 0, 0, out.length], out })

  test('UNMAP discards each range', async () => {
    const made = started()
    expect((await made.ready(unmap(list([8, 8], [0, 0], [64, 2])))).status).toBe(0)
    expect(calls(made)).toEqual(['discard 8+8', 'discard 64+2'])
  })

  test('UNMAP that breaks a rule does nothing', async () => {
    const made = started()
    expect((await made.ready(unmap(list([8, 8], [511, 2])))).sense).toEqual(sense(5, 0x21))
    expect((await made.run(unmap(list([8, 8]), 1))).sense).toEqual(sense(5, 0x24))
    expect((await made.run(unmap(list([8, 8]).subarray(0, 23)))).sense).toEqual(sense(5, 0x1a))
    expect((await made.run(unmap(new Uint8Array(7)))).sense).toEqual(sense(5, 0x1a))
    expect((await made.run({ cdb: [0x42] })).status).toBe(0)
    const much = new Uint8Array(8 + 16 * 257)
    expect((await made.run({ cdb: [0x42, 0, 0, 0, 0, 0, 0, 0x10, 0x18], out: much })).sense).toEqual(sense(5, 0x26))
    expect(calls(made)).toEqual([])
    const thick = started({ unmap: false })
    expect((await thick.ready(unmap(list([8, 8])))).sense).toEqual(sense(5, 0x20))
  })

  test('WRITE SAME writes one block everywhere', async () => {
    const made = started({ bytes: 4 << 20 })
    const block = Uint8Array.from({ length: 512 }, (_, i) => i)
    expect(await made.ready({ cdb: [0x41, 0, 0, 0, 0, 8, 0, 0x0c, 0], out: block })).toMatchObject({
      status: 0,
      residual: 0,
    })
    expect(calls(made)).toEqual(['write 8+2048', 'write 2056+1024'])
    const data = made.disks[0]?.data as Uint8Array
    expect([data[4095], data[4096 + 3], data[(8 + 3071) * 512 + 511], data[(8 + 3072) * 512 + 5]]).toEqual([
      0, 3, 255, 0,
    ])
  })

  test('WRITE SAME of zeroes is a zero write, which may unmap', async () => {
    const made = started()
    const zero = new Uint8Array(512)
    await made.ready({ cdb: [0x41, 0, 0, 0, 0, 8, 0, 0, 8], out: zero })
    await made.run({ cdb: [0x93, 8, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 8], out: zero })
    await made.run({ cdb: [0x93, 9, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 8] })
    expect(calls(made)).toEqual(['write-zeroes 8+8', 'write-zeroes 8+8', 'write-zeroes 8+8'])
    expect(made.disks[0]?.calls.map(({ flags }) => flags)).toEqual([0, BDRV_REQ_MAY_UNMAP, BDRV_REQ_MAY_UNMAP])
  })

  test('WRITE SAME that breaks a rule does nothing', async () => {
    const made = started()
    const out = new Uint8Array(512)
    for (const [cdb, asc] of [
      [[0x41, 0, 0, 0, 0, 8, 0, 0, 0], 0x24],
      [[0x41, 0x10, 0, 0, 0, 8, 0, 0, 1], 0x24],
      [[0x93, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 1], 0x24],
      [[0x41, 0, 0, 0, 1, 0xff, 0, 0, 2], 0x21],
      [[0x41, 0x20, 0, 0, 0, 0, 0, 0, 1], 0x24],
    ] as const) {
      expect((await made.ready({ cdb: [...cdb], out })).sense).toEqual(sense(5, asc))
    }
    expect(calls(made)).toEqual([])
  })
})
