import { describe, expect, test } from 'vitest'
import { BlockError } from '../../../../../src/common/error.js'
import { BDRV_REQ_FUA, BDRV_REQ_MAY_UNMAP } from '../../../../../src/common/request.js'
import { encodeBlkSegment } from '../../../../../src/protocols/virtio/blk.js'
import { BlkMachine, DATA, HEADER, type MachineOptions, STATUS } from '../../../../support/blk-machine.js'
import { shape } from '../../../../support/blk-runs.js'

const OK = 0
const IOERR = 1
const UNSUPP = 2
const DISCARD = 11
const WRITE_ZEROES = 13
const SECURE_ERASE = 14

interface Segment {
  sector: number
  sectors: number
  flags?: number
}

/** Sends one request with several segments; its status. */
async function send(machine: BlkMachine, type: number, segments: Segment[]): Promise<number | undefined> {
  segments.forEach((segment, i) => {
    const { sector, sectors, flags = 0 } = segment
    encodeBlkSegment(machine.view, DATA + 16 * i, { sectorHigh: 0, sectorLow: sector, sectors, flags })
  })
  machine.header(type, 0)
  machine.ram[STATUS] = 0xff
  machine.disk.calls = []
  await machine.send([
    { address: HEADER, length: 16 },
    { address: DATA, length: 16 * segments.length },
    { address: STATUS, length: 1, writable: true },
  ])
  return machine.ram[STATUS]
}

const calls = (machine: BlkMachine) => machine.disk.calls.map(shape)

describe('several segments', () => {
  test('each is done, with its own flags; empty ones are nothing', async () => {
    const machine = new BlkMachine()
    const list = [
      { sector: 8, sectors: 8 },
      { sector: 0, sectors: 0 },
      { sector: 64, sectors: 1 },
    ]
    expect(await send(machine, DISCARD, list)).toBe(OK)
    expect(calls(machine)).toEqual(['discard 8+8', 'discard 64+1'])
    const zeroes = list.map((segment, i) => ({ ...segment, flags: i === 2 ? 1 : 0 }))
    expect(await send(machine, WRITE_ZEROES, zeroes)).toBe(OK)
    expect(machine.disk.calls.map(({ flags }) => flags)).toEqual([0, BDRV_REQ_MAY_UNMAP])
  })

  test('one that breaks a rule spoils the request before anything is done', async () => {
    const machine = new BlkMachine({ maxDiscardSectors: 8 })
    const good = { sector: 8, sectors: 8 }
    expect(await send(machine, DISCARD, [good, { sector: 511, sectors: 2 }])).toBe(IOERR)
    expect(await send(machine, DISCARD, [good, { sector: 0, sectors: 9 }])).toBe(IOERR)
    expect(
      await send(machine, DISCARD, [
        { sector: 600, sectors: 1 },
        { ...good, flags: 1 },
      ]),
    ).toBe(UNSUPP)
    expect(calls(machine)).toEqual([])
    expect(machine.disk.root.accounting.unmap.invalid).toBe(3)
  })

  test('the request ends with its last segment, and fails with any', async () => {
    const machine = new BlkMachine()
    machine.disk.held = []
    const list = [0, 8, 16].map((sector) => ({ sector, sectors: 1 }))
    expect(await send(machine, WRITE_ZEROES, list)).toBe(0xff)
    const held = machine.disk.held
    held[1]?.settle(new BlockError('EIO', 'bad'))
    held[0]?.settle()
    await machine.settle()
    expect(machine.usedIndex).toBe(0)
    held[2]?.settle()
    await machine.settle()
    expect([machine.usedIndex, machine.ram[STATUS]]).toEqual([1, IOERR])
  })

  test('as many as the configuration space says', async () => {
    const machine = new BlkMachine({ maxDiscardSegments: 2, maxWriteZeroesSegments: 1 })
    const { maxDiscardSeg, maxWriteZeroesSeg } = machine.driver.config()
    expect([maxDiscardSeg, maxWriteZeroesSeg]).toEqual([2, 1])
    const list = [0, 8, 16].map((sector) => ({ sector, sectors: 1 }))
    expect(await send(machine, DISCARD, list)).toBe(UNSUPP)
    expect(await send(machine, DISCARD, list.slice(1))).toBe(OK)
    expect(await send(machine, WRITE_ZEROES, list.slice(1))).toBe(UNSUPP)
  })
})

describe('secure erase', () => {
  test('is unsupported where it is not offered, and where it was not accepted', async () => {
    const segment = { sector: 8, sectors: 8 }
    expect(await send(new BlkMachine(), SECURE_ERASE, [segment])).toBe(UNSUPP)
    const declined = new BlkMachine({ secureErase: true, features: ~(1n << 16n) })
    expect(await send(declined, SECURE_ERASE, [segment])).toBe(UNSUPP)
  })

  test('writes zeroes as data, stable, over all of the range', async () => {
    const machine = new BlkMachine({ secureErase: true, diskBytes: 4 << 20, logicalBlockSize: 4096 })
    machine.disk.data.fill(7)
    const config = machine.driver.config()
    expect([config.maxSecureEraseSectors, config.maxSecureEraseSeg]).toEqual([32768, 16])
    expect(config.secureEraseSectorAlignment).toBe(8)
    expect(await send(machine, SECURE_ERASE, [{ sector: 8, sectors: 4104 }])).toBe(OK)
    expect(calls(machine)).toEqual(['write 8+2048', 'write 2056+2048', 'write 4104+8'])
    expect(machine.disk.calls.every(({ flags }) => flags === BDRV_REQ_FUA)).toBe(true)
    const { data } = machine.disk
    expect([data[4095], data[4096], data[4112 * 512 - 1], data[4112 * 512]]).toEqual([7, 0, 0, 7])
  })

  test('flags are unsupported; a read-only disk is not erased', async () => {
    const machine = new BlkMachine({ secureErase: true })
    expect(await send(machine, SECURE_ERASE, [{ sector: 0, sectors: 1, flags: 1 }])).toBe(UNSUPP)
    const locked = new BlkMachine({ secureErase: true, disk: { writable: false } })
    expect(locked.device.readFeatures(0) & (1 << 16)).toBe(0)
    expect(await send(locked, SECURE_ERASE, [{ sector: 0, sectors: 1 }])).toBe(UNSUPP)
  })
})

describe('what a disk says of itself', () => {
  async function lifetime(options: MachineOptions, bytes: number) {
    const machine = new BlkMachine(options)
    machine.header(10, 0)
    await machine.send([
      { address: HEADER, length: 16 },
      { address: DATA, length: bytes, writable: true },
      { address: STATUS, length: 1, writable: true },
    ])
    return [machine.ram[STATUS], machine.usedElement(0).length, ...machine.ram.subarray(DATA, DATA + 6)]
  }

  test('its lifetime, where it knows', async () => {
    const worn = { lifetime: () => ({ preEolInfo: 1, lifetimeTypeA: 3, lifetimeTypeB: 11 }) }
    expect(await lifetime(worn, 6)).toEqual([OK, 7, 1, 0, 3, 0, 11, 0])
    expect(await lifetime(worn, 5)).toEqual([IOERR, 0, 0, 0, 0, 0, 0, 0])
    const reserved = { lifetime: () => ({ preEolInfo: 1, lifetimeTypeA: 12, lifetimeTypeB: 0 }) }
    expect(await lifetime(reserved, 6)).toEqual([IOERR, 0, 0, 0, 0, 0, 0, 0])
    expect(await lifetime({}, 6)).toEqual([UNSUPP, 0, 0, 0, 0, 0, 0, 0])
    expect(await lifetime({ ...worn, features: ~(1n << 15n) }, 6)).toEqual([UNSUPP, 0, 0, 0, 0, 0, 0, 0])
  })

  test('its geometry and alignment', () => {
    const usual = new BlkMachine({ diskBytes: 16 * 63 * 512 * 5 + 512 }).driver.config()
    expect([usual.cylinders, usual.heads, usual.sectors]).toEqual([5, 16, 63])
    const chosen = new BlkMachine({
      geometry: { cylinders: 80, heads: 2, sectors: 18 },
      physicalBlockSize: 4096,
      alignmentOffset: 7,
    }).driver.config()
    expect([chosen.cylinders, chosen.heads, chosen.sectors, chosen.alignmentOffset]).toEqual([80, 2, 18, 7])
  })

  test.each([
    { geometry: { cylinders: 0, heads: 1, sectors: 1 } },
    { geometry: { cylinders: 1, heads: 256, sectors: 1 } },
    { alignmentOffset: 1 },
    { maxDiscardSegments: 0 },
    { maxSecureEraseSectors: 0 },
  ])('refuses %j', (options) => {
    expect(() => new BlkMachine(options)).toThrow(expect.objectContaining({ code: 'EINVAL' }))
  })

  test('that it has no zones: every zone request is unsupported', async () => {
    for (const type of [15, 16, 18, 20, 22, 24, 26]) {
      const machine = new BlkMachine()
      expect(machine.device.readFeatures(0) & (1 << 17)).toBe(0)
      machine.header(type, 0)
      await machine.send([
        { address: HEADER, length: 16 },
        { address: DATA, length: 512 },
        { address: DATA + 512, length: 64, writable: true },
        { address: STATUS, length: 1, writable: true },
      ])
      expect(machine.ram[STATUS]).toBe(UNSUPP)
    }
  })
})
