// What tests of hostile front-ends share: a connection that may say anything, and what has to hold after it.

import { expect } from 'vitest'
import { loadHostIpc } from '../../../src/platform/native/host-ipc.js'
import type { VhostUserBlkOptions } from '../../../src/platform/vhost-user/serve-blk.js'
import type { MemoryRegionDescription } from '../../../src/protocols/vhost-user/memory-regions.js'
import * as m from '../../../src/protocols/vhost-user/messages.js'
import { encodeU64, encodeVringAddress, encodeVringState } from '../../../src/protocols/vhost-user/payloads.js'
import { FrontEnd } from './front-end.js'
import { leavesNothingOpen, type ServedDisk, serveDisk } from './served-disk.js'
import { SharedGuest } from './shared-guest.js'

/** A connection whose protocol features are all agreed on. Afterwards a good front-end is served, and nothing is open. */
export function hostile(
  act: (front: FrontEnd, served: ServedDisk) => Promise<void>,
  options: Partial<VhostUserBlkOptions> = {},
): Promise<void> {
  return leavesNothingOpen(async () => {
    const ipc = await loadHostIpc()
    const served = await serveDisk(options)
    const front = FrontEnd.connect(ipc, served.socket)
    const protocol = await front.askNumber(m.VHOST_USER_GET_PROTOCOL_FEATURES)
    front.say(m.VHOST_USER_SET_PROTOCOL_FEATURES, { payload: encodeU64(protocol) })
    try {
      await act(front, served)
    } finally {
      front.close()
    }
    await servesAnother(served)
    await served.close()
  })
}

/** A good front-end is served after a bad one. */
export async function servesAnother(served: ServedDisk): Promise<void> {
  const guest = new SharedGuest(await loadHostIpc())
  await guest.start(served.socket)
  const data = new Uint8Array(512).fill(7)
  await guest.disks[0]?.write(0, data)
  const got = new Uint8Array(512)
  await guest.disks[0]?.read(0, got)
  expect(got).toEqual(data)
  guest.close()
}

/** A region of 64 KiB that is good but for `changes`. */
export function region(changes: Partial<MemoryRegionDescription> = {}): MemoryRegionDescription {
  return { guestAddress: 0n, size: 0x10000n, userAddress: 0x7000_0000n, mmapOffset: 0n, xen: undefined, ...changes }
}

/** The payload of messages about a ring and a number. */
export function state(index: number, num: number): Uint8Array {
  return encodeVringState({ index, num })
}

/** A ring whose parts lie `step` bytes apart. */
export function address(index: number, at: bigint, step = 0x1000n): Uint8Array {
  return encodeVringAddress({ index, flags: 0, descriptor: at, available: at + step, used: at + 2n * step, log: 0n })
}

/** Agrees on features of a split ring. */
export function agree(front: FrontEnd): Promise<boolean> {
  return front.tellNumber(m.VHOST_USER_SET_FEATURES, (1n << 32n) | (1n << 30n))
}

/** Waits for it, two seconds at most. */
export async function untilTrue(condition: () => boolean): Promise<void> {
  const deadline = performance.now() + 2000
  while (!condition()) {
    if (performance.now() > deadline) throw new Error('it never came')
    await new Promise((resolve) => setImmediate(resolve))
  }
}
