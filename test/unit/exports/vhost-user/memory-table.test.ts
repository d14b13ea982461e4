// Addresses of the front-end as addresses of the guest, where they cross regions.

import { expect, test } from 'vitest'
import type { HostIpc } from '../../../../src/common/host-ipc.js'
import { MemoryTable } from '../../../../src/exports/vhost-user/memory-table.js'

type Region = MemoryTable['regions'][number]

const ipc = {} as HostIpc

function region(guestAddress: number, userAddress: bigint): Region {
  const size = 0x1000
  const views = [{ address: guestAddress, memory: new ArrayBuffer(size) }]
  return { guestAddress, size, userAddress, end: size, mapping: {} as Region['mapping'], views, fd: undefined }
}

/** Three neighbours for the front-end, of which the last is none for the guest, and one by itself. */
const table = new MemoryTable(ipc, [
  region(0x9000, 0x7000_2000n),
  region(0x2000, 0x7000_1000n),
  region(0x1000, 0x7000_0000n),
  region(0x3000, 0x8000_0000n),
])

test.each([
  ['in one region', 0x7000_0010n, 0xff0, 0x1010],
  ['from its first byte to its last', 0x7000_1000n, 0x1000, 0x2000],
  ['over the border of two', 0x7000_0ff0n, 0x20, 0x1ff0],
  ['all of two', 0x7000_0000n, 0x2000, 0x1000],
  ['over a border that is none for the guest', 0x7000_1ff0n, 0x20, undefined],
  ['into nothing', 0x7000_2ff0n, 0x20, undefined],
  ['before the first', 0x6fff_fff0n, 0x10, undefined],
  ['behind the last', 0x8000_1000n, 1, undefined],
  ['neighbours for the guest alone', 0x7000_1ff0n, 0x1010, undefined],
])('%s', (_name, address, bytes, expected) => {
  expect(table.translate(address, bytes)).toEqual(expected === undefined ? undefined : { high: 0, low: expected })
})
