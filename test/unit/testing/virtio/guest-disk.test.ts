import { describe, expect, test } from 'vitest'
import { BlockError } from '../../../../src/common/error.js'
import { GuestDisk } from '../../../../src/testing/virtio/guest-disk.js'
import { BlkMachine, type MachineOptions } from '../../../support/blk-machine.js'

function guestDisk(options: MachineOptions = {}, buffers = 8): { machine: BlkMachine; disk: GuestDisk } {
  const machine: BlkMachine = new BlkMachine({ ...options, notifyQueue: () => disk.notified() })
  const disk: GuestDisk = new GuestDisk({ driver: machine.driver, memory: machine.memory, bufferBytes: 8192, buffers })
  return { machine, disk }
}

describe('GuestDisk', () => {
  test('moves real bytes', async () => {
    const { machine, disk } = guestDisk({ serial: 'guest-1' })
    const data = Uint8Array.from({ length: 4096 }, (_, i) => i & 0xff)
    await disk.write(8192, data)
    await disk.flush()
    const got = new Uint8Array(4096)
    await disk.read(8192, got)
    expect(got).toEqual(data)
    await disk.writeZeroes(8192, 512)
    await disk.discard(12288 - 512, 512)
    await disk.read(8192, got)
    expect([got[511], got[512], got[4095]]).toEqual([0, 0, 0])
    expect(got[513]).toBe(1)
    expect(await disk.id()).toBe('guest-1')
    expect(disk.size).toBe(1 << 18)
    expect(machine.disk.calls.map((call) => call.kind)).toContain('discard')
  })

  test('more requests than buffers and descriptors: all of them in the end', async () => {
    const { machine, disk } = guestDisk({ driverQueueSize: 8 }, 4)
    machine.disk.held = []
    // No two in a row are neighbours, which the device would join.
    const places = Array.from({ length: 50 }, (_, i) => (i * 7) % 50)
    const writes = places.map((place) => disk.write(place * 512, new Uint8Array(512).fill(place + 1)))
    let most = 0
    for (let round = 0; round < 100 && (round === 0 || disk.inFlight > 0); round++) {
      await machine.settle()
      most = Math.max(most, machine.disk.held.length)
      for (const held of machine.disk.held.splice(0)) held.settle()
      await machine.settle()
    }
    // A request takes three descriptors.
    expect([most, disk.inFlight, machine.disk.calls.length]).toEqual([2, 0, 50])
    await Promise.all(writes)
    expect(Array.from({ length: 50 }, (_, i) => machine.disk.data[i * 512])).toEqual(
      Array.from({ length: 50 }, (_, i) => i + 1),
    )
  })

  test('errors of the device reject; the buffer comes back', async () => {
    const { machine, disk } = guestDisk({ discard: false }, 1)
    machine.disk.fault = (call) => (call.kind === 'read' ? new BlockError('EIO', 'bad') : undefined)
    await expect(disk.read(0, new Uint8Array(512))).rejects.toMatchObject({ code: 'EIO' })
    await expect(disk.discard(0, 512)).rejects.toMatchObject({ code: 'ENOTSUP' })
    await expect(disk.read(1, new Uint8Array(512))).rejects.toMatchObject({ code: 'EINVAL' })
    await expect(disk.read(0, new Uint8Array(8193))).rejects.toMatchObject({ code: 'EINVAL' })
    await disk.write(0, new Uint8Array(512))
  })
})
