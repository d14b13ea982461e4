// Disks over a socket as logical units of one controller: where they are, what their driver chooses, and how they come and go.

import { mkdtempSync, rmSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { loadHostIpc } from '../../../../src/platform/native/host-ipc.js'
import type { NodeDisk } from '../../../../src/platform/node-disk.js'
import { openDisk } from '../../../../src/platform/open-disk.js'
import {
  serveVhostUserScsi,
  type VhostUserScsiDisk,
  type VhostUserScsiOptions,
} from '../../../../src/platform/vhost-user/serve-scsi.js'
import type { ServedDisk } from '../../../../src/platform/vhost-user/served-disk.js'
import { encodeConfig } from '../../../../src/protocols/vhost-user/config.js'
import * as m from '../../../../src/protocols/vhost-user/messages.js'
import { featureSet } from '../../../../src/protocols/virtio/features.js'
import {
  encodeScsiAddress,
  VIRTIO_SCSI_F_CHANGE,
  VIRTIO_SCSI_F_HOTPLUG,
} from '../../../../src/protocols/virtio/scsi.js'
import { RingGuest } from '../../../support/vhost-user/ring-guest.js'

const MIB = 2 ** 20

let folder: string
let socket: string
let disks: NodeDisk[]

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'vhost-scsi-'))
  socket = join(folder, 'socket')
  disks = []
  for (const size of [1, 2, 3]) disks.push(await openDisk({ driver: 'memory', size: size * MIB }))
})

afterEach(async () => {
  for (const disk of disks) await disk.close()
  rmSync(folder, { recursive: true, force: true })
})

/** Serves disks to a guest with features of its driver. */
async function withGuest(
  served: readonly (ServedDisk | VhostUserScsiDisk)[],
  options: Partial<VhostUserScsiOptions>,
  act: (
    guest: RingGuest,
    run: (place: [number, number], cdb: number[], bytes: number) => Promise<Uint8Array>,
    server: Awaited<ReturnType<typeof serveVhostUserScsi>>,
  ) => Promise<void>,
): Promise<void> {
  const server = await serveVhostUserScsi(served, { socket, ...options })
  const guest = new RingGuest(await loadHostIpc(), 3)
  try {
    await guest.start(socket, featureSet(VIRTIO_SCSI_F_HOTPLUG, VIRTIO_SCSI_F_CHANGE))
    await act(guest, (place, cdb, bytes) => command(guest, place, cdb, bytes), server)
  } finally {
    guest.close()
    await server.close()
  }
}

/** The data that a command gives; empty where it failed. Takes a unit's first attention. */
async function command(guest: RingGuest, place: [number, number], cdb: number[], bytes: number): Promise<Uint8Array> {
  const [request, response, data] = [guest.free, guest.free + 0x100, guest.free + 0x200]
  for (const last of [false, true]) {
    guest.bytes(request, 0x200).fill(0)
    encodeScsiAddress(guest.bytes(request, 8), 0, ...place)
    guest.bytes(request + 19, cdb.length).set(cdb)
    const used = await guest.ask(2, [
      [request, 51, false],
      [response, 108, true],
      [data, bytes, true],
    ])
    const [status, outcome] = guest.bytes(response + 10, 2)
    if (status === 0 && outcome === 0) return guest.bytes(data, used - 108).slice()
    if (last || status !== 2) break
  }
  return new Uint8Array(0)
}

const capacity = [0x25]
const reportLuns = [0xa0, 0, 0, 0, 0, 0, 0, 0, 0, 64]
const blocks = (data: Uint8Array) => new DataView(data.buffer).getUint32(0) + 1

describe('where disks are', () => {
  test('one after the other as LUNs, unless they say otherwise', async () => {
    const [first, second, third] = disks as [NodeDisk, NodeDisk, NodeDisk]
    await withGuest(
      [first, { disk: second.backend, serial: 'two' }, { disk: third, target: 5, lun: 300 }],
      {},
      async (_, run) => {
        const luns = await run([0, 0], reportLuns, 64)
        expect([...luns]).toEqual([0, 0, 0, 16, 0, 0, 0, 0, ...[0, 0, 0, 0, 0, 0, 0, 0], ...[0, 1, 0, 0, 0, 0, 0, 0]])
        const places: [number, number][] = [
          [0, 0],
          [0, 1],
          [5, 300],
        ]
        for (const [index, place] of places.entries()) {
          expect(blocks(await run(place, capacity, 8))).toBe(((index + 1) * MIB) / 512)
        }
        const serial = await run([0, 1], [0x12, 1, 0x80, 0, 64], 64)
        expect(String.fromCharCode(...serial.subarray(4))).toBe('two')
      },
    )
  })

  test('what cannot be served leaves its backends free', async () => {
    const [first, second] = disks as [NodeDisk, NodeDisk]
    await expect(serveVhostUserScsi([first, { disk: second, lun: 0 }], { socket })).rejects.toMatchObject({
      code: 'EEXIST',
    })
    await expect(serveVhostUserScsi([first, first], { socket })).rejects.toMatchObject({ code: 'EBUSY' })
    const other = createServer()
    await new Promise<void>((resolve) => other.listen(socket, resolve))
    await expect(serveVhostUserScsi([first, second], { socket })).rejects.toMatchObject({ code: 'EADDRINUSE' })
    await new Promise((resolve) => other.close(resolve))
    const server = await serveVhostUserScsi([first, second], { socket })
    await server.close()
  })
})

test('the sizes that a driver writes into the configuration are those of its commands', async () => {
  await withGuest([disks[0] as NodeDisk], { queues: 1 }, async (guest) => {
    const size = encodeConfig({ offset: 20, size: 4, flags: 0, data: Uint8Array.of(24, 0, 0, 0) })
    expect(await guest.shared.front.tell(m.VHOST_USER_SET_CONFIG, { payload: size })).toBe(true)
    await guest.shared.readConfig()
    expect([...guest.shared.config.subarray(20, 24)]).toEqual([24, 0, 0, 0])
    const [request, response, data] = [guest.free, guest.free + 0x100, guest.free + 0x200]
    encodeScsiAddress(guest.bytes(request, 8), 0, 0, 0)
    guest.bytes(request + 19, 5).set([0x12, 0, 0, 0, 36])
    const used = await guest.ask(2, [
      [request, 51, false],
      [response, 12 + 24, true],
      [data, 36, true],
    ])
    expect(used).toBe(12 + 24 + 36)
    expect(String.fromCharCode(...guest.bytes(data + 8, 8))).toBe('BLKGRAPH')
  })
})

test('a disk that comes while a guest runs is told of, and one that goes', async () => {
  const [first, second] = disks as [NodeDisk, NodeDisk]
  await withGuest([first], {}, async (guest, run, server) => {
    const event = guest.free + 0x1000
    const told = () => [...guest.bytes(event, 16)]
    guest.offer(1, [[event, 16, true]])
    server.device.attachDisk({ root: second.backend.root, lun: 9 })
    await guest.answered(1)
    expect(told()).toEqual([1, 0, 0, 0, 1, 0, 0, 9, 0, 0, 0, 0, 1, 0, 0, 0])
    expect(blocks(await run([0, 9], capacity, 8))).toBe((2 * MIB) / 512)
    guest.offer(1, [[event, 16, true]])
    await second.resize(4 * MIB)
    await guest.answered(1)
    expect(told()).toEqual([3, 0, 0, 0, 1, 0, 0, 9, 0, 0, 0, 0, 0x2a, 9, 0, 0])
    guest.offer(1, [[event, 16, true]])
    await server.device.detachDisk(0, 9)
    await guest.answered(1)
    expect(told()).toEqual([1, 0, 0, 0, 1, 0, 0, 9, 0, 0, 0, 0, 2, 0, 0, 0])
    expect(await run([0, 9], capacity, 8)).toHaveLength(0)
  })
})
