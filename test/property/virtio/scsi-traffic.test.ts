// Random commands of good faith to two disks behind a controller, in every form a command has, against flat buffers.

import fc from 'fast-check'
import { expect, test } from 'vitest'
import { type RandomBelow, seededRandom } from '../../../src/testing/crash/seeded-random.js'
import { type ScsiAnswer, type ScsiCall, ScsiMachine } from '../../support/scsi-machine.js'

const BLOCKS = 64

interface Command {
  call: ScsiCall
  /** Changes the model where the command is done; what a read finds. */
  apply(model: Uint8Array): Uint8Array | undefined
}

/** A command block of one of four lengths with an address and a count. */
function block(opcodes: [number, number, number, number], random: RandomBelow, lba: number, blocks: number): number[] {
  switch (random(4)) {
    case 0:
      return [opcodes[0], 0, 0, lba, blocks]
    case 1:
      return [opcodes[1], 0, 0, 0, 0, lba, 0, 0, blocks]
    case 2:
      return [opcodes[2], 0, 0, 0, 0, lba, 0, 0, 0, blocks]
    default:
      return [opcodes[3], 0, 0, 0, 0, 0, 0, 0, 0, lba, 0, 0, 0, blocks]
  }
}

function command(random: RandomBelow): Command {
  const blocks = 1 + random(6)
  const lba = random(BLOCKS + 4)
  const [start, end] = [lba * 512, (lba + blocks) * 512]
  const lun = random(2)
  switch (random(5)) {
    case 0:
      return {
        call: {
          cdb: block([0x08, 0x28, 0xa8, 0x88], random, lba, blocks),
          inBytes: blocks * 512 + random(3) * 100,
          lun,
        },
        apply: (model) => model.slice(start, end),
      }
    case 1: {
      const out = new Uint8Array(blocks * 512).fill(random(256))
      return {
        call: { cdb: block([0x0a, 0x2a, 0xaa, 0x8a], random, lba, blocks), out, lun },
        apply: (model) => void model.set(out, start),
      }
    }
    case 2: {
      const out = new Uint8Array(512).fill(random(3) === 0 ? 0 : random(256))
      const long = random(2) === 0
      const cdb = long
        ? [0x93, 0, 0, 0, 0, 0, 0, 0, 0, lba, 0, 0, 0, blocks]
        : [0x41, random(2) * 8, 0, 0, 0, lba, 0, 0, blocks]
      return {
        call: { cdb, out, lun },
        apply: (model) => void model.fill(out[0] as number, start, end),
      }
    }
    case 3: {
      const out = Uint8Array.of(0, 22, 0, 16, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, lba, 0, 0, 0, blocks, 0, 0, 0, 0)
      return {
        call: { cdb: [0x42, 0, 0, 0, 0, 0, 0, 0, out.length], out, lun },
        apply: (model) => void model.fill(0, start, end),
      }
    }
    default:
      return {
        call: { cdb: [random(2) === 0 ? 0x35 : 0x91, 0, 0, 0, 0, 0, 0, 0, 0], lun },
        apply: () => undefined,
      }
  }
}

function check(answer: ScsiAnswer, { call, apply }: Command, model: Uint8Array): void {
  const [opcode = 0] = call.cdb
  const flush = opcode === 0x35 || opcode === 0x91
  const place = call.out !== undefined && opcode === 0x42 ? call.out : undefined
  const cdb = Uint8Array.from({ length: 16 }, (_, i) => call.cdb[i] ?? 0)
  const lba = place?.[15] ?? (opcode < 0x20 ? cdb[3] : opcode >>> 5 === 4 ? cdb[9] : cdb[5]) ?? 0
  const blocks =
    place?.[19] ?? (opcode < 0x20 ? cdb[4] : opcode >>> 5 === 4 ? cdb[13] : opcode >>> 5 === 5 ? cdb[9] : cdb[8]) ?? 0
  if (!flush && lba + blocks > BLOCKS) {
    expect(answer).toMatchObject({ response: 0, status: 2, sense: { key: 5, asc: 0x21 }, used: 108 })
    return
  }
  expect(answer).toMatchObject({ response: 0, status: 0, sense: undefined })
  const found = apply(model)
  if (found === undefined) return
  expect(Buffer.compare(answer.data.subarray(0, found.length), found)).toBe(0)
  expect(answer.used).toBe(108 + found.length)
  expect(answer.residual).toBe((call.inBytes ?? 0) - found.length)
}

test('every form of every command: as flat disks', async () => {
  await fc.assert(
    fc.asyncProperty(fc.nat(0x7fff_ffff), async (number) => {
      const random = seededRandom(number)
      const machine = new ScsiMachine()
      const disks = [0, 1].map((lun) => machine.attach({ bytes: BLOCKS * 512, lun }))
      const models = disks.map(() => new Uint8Array(BLOCKS * 512))
      machine.start()
      for (const lun of [0, 1]) await machine.ready({ cdb: [0], lun })
      for (let i = 0; i < 30; i++) {
        const next = command(random)
        check(await machine.run(next.call), next, models[next.call.lun ?? 0] as Uint8Array)
      }
      for (const [lun, disk] of disks.entries()) expect(Buffer.compare(disk.data, models[lun] as Uint8Array)).toBe(0)
      expect(machine.device.readStatus()).toBe(15)
    }),
    { numRuns: 150 },
  )
}, 120_000)
