// A device that is unplugged leaves nothing behind: its backend is as it was, nobody is called any more, and neither the
// device nor guest memory is held by anything that lives on.

import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { describe, expect, test } from 'vitest'
import { BlockError } from '../../../../../src/common/error.js'
import { VirtioBlkDevice } from '../../../../../src/devices/virtio/blk/virtio-blk.js'
import type { VirtioDevice } from '../../../../../src/devices/virtio/core/virtio-device.js'
import { GuestMemory } from '../../../../../src/devices/virtio/memory/guest-memory.js'
import { VirtioScsiDevice } from '../../../../../src/devices/virtio/scsi/virtio-scsi.js'
import { drained } from '../../../../../src/io/drained.js'
import { GuestBlkDriver } from '../../../../../src/testing/virtio/guest-blk-driver.js'
import { settleMicrotasks, VirtualClock } from '../../../../../src/testing/virtual-clock.js'
import { BlkMachine, DATA } from '../../../../support/blk-machine.js'
import { FlatDisk } from '../../../../support/flat-disk.js'

setFlagsFromString('--expose-gc')
const collect = runInNewContext('gc') as () => void

interface Kept {
  clock: VirtualClock
  disk: FlatDisk
  wire: { start(kicked: () => void): void; stop(): void; kicked: (() => void) | undefined }
}

/** Everything that lives longer than a device does. */
function kept(): Kept {
  const clock = new VirtualClock()
  const disk = new FlatDisk(1 << 16, clock, { onError: 'stop' })
  const wire: Kept['wire'] = {
    kicked: undefined,
    start(kicked) {
      this.kicked = kicked
    },
    stop() {
      this.kicked = undefined
    },
  }
  return { clock, disk, wire }
}

const settle = async () => {
  for (let i = 0; i < 4; i++) await settleMicrotasks()
}

/** Plugs a device in, works with it and unplugs it in the middle of its work; what is left to be collected. */
async function live({ clock, disk, wire }: Kept, kind: 'blk' | 'scsi'): Promise<WeakRef<object>[]> {
  const memory = new GuestMemory([{ address: 0, memory: new ArrayBuffer(1 << 20) }])
  const shared = { clock, memory, notifier: { notifyQueue: () => {} }, queueSize: 16 }
  let device: VirtioDevice
  if (kind === 'scsi') {
    const controller = new VirtioScsiDevice(shared)
    controller.attachDisk({ root: disk.root })
    device = controller
  } else {
    device = new VirtioBlkDevice({ ...shared, root: disk.root })
  }
  device.setHostNotifier(0, wire)
  if (device instanceof VirtioBlkDevice) {
    const driver = new GuestBlkDriver({ device, memory, address: 0x1000 })
    driver.initialise()
    disk.fault = () => new BlockError('EIO', 'no')
    driver.submitRead(0, DATA, 512)
    driver.kick()
    await settle()
    disk.fault = undefined
    disk.held = []
    driver.submitRead(9, DATA, 512)
    driver.submitFlush()
    driver.kick()
    expect(device.parkedRequests).toBe(1)
  }
  const closed = device.close()
  await settle()
  for (const held of disk.held?.splice(0) ?? []) held.settle()
  disk.held = undefined
  await settle()
  await closed
  return [new WeakRef(device), new WeakRef(memory), new WeakRef(shared.notifier)]
}

describe('unplugged', () => {
  test.each(['blk', 'scsi'] as const)('virtio-%s: nothing is held, and the backend is as it was', async (kind) => {
    const stays = kept()
    const { disk, wire } = stays
    const gone: WeakRef<object>[] = []
    for (let i = 0; i < 20; i++) gone.push(...(await live(stays, kind)))
    const { root } = disk
    expect([root.client, root.holdWhileDrained, root.inFlight, root.busy()]).toEqual([undefined, true, 0, false])
    expect([wire.kicked, root.environment.drainWaiters.size, stays.clock.pendingTimers]).toEqual([undefined, 0, 0])
    const section = await drained(disk.node)
    section.end()
    await settle()
    await new Promise((resolve) => setTimeout(resolve))
    collect()
    // The last few may still be on the stack of the engine.
    expect(gone.filter((each) => each.deref() !== undefined).length).toBeLessThanOrEqual(6)
  })

  test('in a drained section, and while paused', async () => {
    const machine = new BlkMachine()
    const section = await drained(machine.disk.node)
    await machine.device.pause()
    await machine.device.close()
    expect([machine.disk.root.client, machine.disk.root.busy()]).toEqual([undefined, false])
    section.end()
    await machine.settle()
    const next = new VirtioBlkDevice({
      root: machine.disk.root,
      memory: machine.memory,
      clock: machine.clock,
      notifier: { notifyQueue: () => {} },
    })
    const driver = new GuestBlkDriver({ device: next, memory: machine.memory, address: 0x1000, queueSize: 16 })
    driver.initialise()
    driver.submitFlush()
    driver.kick()
    await machine.settle()
    expect(driver.queue.pending()).toBe(1)
  })
})
