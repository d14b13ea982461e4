// Legal traffic of a virtio-blk device over every kind of ring: many requests in flight, answered by the backend in any order,
// come back once each (in order where that was agreed) and leave the disk as a flat one would be.

import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  featureSet,
  hasFeature,
  VIRTIO_F_EVENT_IDX,
  VIRTIO_F_IN_ORDER,
  VIRTIO_F_INDIRECT_DESC,
  VIRTIO_F_RING_PACKED,
} from '../../../src/protocols/virtio/features.js'
import { BlkMachine } from '../../support/blk-machine.js'
import { check, cutPlace, DISK, type LegalRequest, same, submit } from '../../support/legal-request.js'
import { ALL_FEATURES } from '../../support/queue-pair.js'

const request: fc.Arbitrary<LegalRequest> = fc.record({
  kind: fc.constantFrom('read', 'write', 'write', 'flush', 'get-id', 'discard'),
  sector: fc.nat(63),
  sectors: fc.integer({ min: 1, max: 4 }),
  seed: fc.nat(255),
  readCuts: fc.array(cutPlace, { maxLength: 6 }),
  writeCuts: fc.array(cutPlace, { maxLength: 4 }),
})

describe.each(ALL_FEATURES)('%s', (_name, features) => {
  test('many in flight, answered in any order', async () => {
    const rounds = fc.array(fc.array(request, { minLength: 1, maxLength: 8 }), { minLength: 1, maxLength: 6 })
    await fc.assert(
      fc.asyncProperty(rounds, fc.infiniteStream(fc.nat()), async (list, chance) => {
        const machine = new BlkMachine({
          diskBytes: DISK,
          driverQueueSize: 32,
          serial: 'x',
          anyRing: true,
          features: features.packed ? -1n : ~featureSet(VIRTIO_F_RING_PACKED),
          indirect: features.indirect,
          eventIndex: features.eventIndex,
          inOrder: features.inOrder,
          tableEntries: features.indirect ? 8 : 0,
        })
        const agreed = (bit: number) => hasFeature(machine.driver.features, bit)
        expect([agreed(VIRTIO_F_RING_PACKED), agreed(VIRTIO_F_IN_ORDER)]).toEqual([features.packed, features.inOrder])
        expect([agreed(VIRTIO_F_INDIRECT_DESC), agreed(VIRTIO_F_EVENT_IDX)]).toEqual([
          features.indirect,
          features.eventIndex,
        ])
        machine.disk.held = []
        const model = new Uint8Array(DISK)
        for (const wanted of list) {
          // Ranges are made disjoint, so that the outcome does not depend on the order.
          const placed = wanted.map((one, i) => ({ ...one, sector: i * 5 }))
          const slots = new Map<number, number>()
          for (const [slot, one] of placed.entries()) {
            const head = submit(machine, one, slot)
            if (head >= 0) slots.set(head, slot)
          }
          const submitted = [...slots.keys()]
          machine.driver.kick()
          const done: { head: number; used: number }[] = []
          for (let turn = 0; turn < 100 && done.length < submitted.length; turn++) {
            await machine.settle()
            const { held } = machine.disk
            const next = held[(chance.next().value as number) % Math.max(held.length, 1)]
            if (next !== undefined) {
              held.splice(held.indexOf(next), 1)
              next.settle()
              await machine.settle()
            }
            done.push(...machine.reap())
          }
          machine.driver.queue.enableNotifications()
          const heads = done.map((one) => one.head)
          if (features.inOrder) expect(heads).toEqual(submitted)
          else expect([...heads].sort()).toEqual([...submitted].sort())
          for (const { head, used } of done) {
            const slot = slots.get(head) as number
            check(machine, model, placed[slot] as LegalRequest, slot, used)
          }
        }
        expect(same(machine.disk.data, model)).toBe(true)
        expect([machine.device.resetReason, machine.disk.root.inFlight, machine.driver.queue.free]).toEqual([
          undefined,
          0,
          32,
        ])
      }),
      { numRuns: 25 },
    )
  }, 60_000)
})
