import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { encodeText } from '../../../../../src/drivers/qcow2/format/extensions.js'
import { host } from '../../../../../src/drivers/qcow2/format/layout.js'
import {
  encodeSnapshotTable,
  MAX_SNAPSHOT_EXTRA,
  MAX_SNAPSHOTS,
  readSnapshotTable,
  type Snapshot,
  snapshotEntryBytes,
} from '../../../../../src/drivers/qcow2/format/snapshot-table.js'
import { bytesOf, hexOf, joined } from '../../../../support/hex.js'

function snapshot(change: Partial<Snapshot> = {}): Snapshot {
  const { id = '1', name = 'one' } = change
  return {
    l1TableOffset: host(0x70000),
    l1Size: 1,
    id,
    name,
    idBytes: encodeText(id),
    nameBytes: encodeText(name),
    dateSeconds: 1_000_000_000,
    dateNanoseconds: 5000,
    vmClockNanoseconds: 0n,
    vmStateSize: 0,
    diskSize: 1_048_576,
    icount: 0n,
    unknownExtra: new Uint8Array(0),
    ...change,
  }
}

/** A file that holds `table` and nothing behind it. */
function fetchFrom(table: Uint8Array): (position: number, bytes: number) => Uint8Array {
  return (position, bytes) => {
    const out = new Uint8Array(bytes)
    out.set(table.subarray(Math.min(position, table.byteLength), position + bytes))
    return out
  }
}

async function read(table: Uint8Array, count: number, trim = false) {
  return readSnapshotTable(fetchFrom(table), count, trim)
}

/** An entry as some other program would write it. */
function rawEntry(fields: { extra: number; id?: string; name?: string; vmState32?: number }): Uint8Array {
  const [id, name] = [encodeText(fields.id ?? '1'), encodeText(fields.name ?? 'n')]
  const bytes = new Uint8Array(40 + fields.extra + id.byteLength + name.byteLength)
  const view = new DataView(bytes.buffer)
  view.setBigUint64(0, 0x50000n)
  view.setUint32(8, 3)
  view.setUint16(12, id.byteLength)
  view.setUint16(14, name.byteLength)
  view.setUint32(32, fields.vmState32 ?? 0)
  view.setUint32(36, fields.extra)
  for (let at = 0; at < fields.extra; at++) bytes[40 + at] = at < 6 || (at >= 8 && at < 14) ? 0 : at % 251
  bytes.set(id, 40 + fields.extra)
  bytes.set(name, 40 + fields.extra + id.byteLength)
  return bytes
}

describe('the snapshot table', () => {
  test('an entry stands as the specification says', () => {
    const table = encodeSnapshotTable([snapshot({ vmStateSize: 0x1_0000_0001, diskSize: 0x200000, icount: 7n })], 0)
    expect(table.byteLength).toBe(40 + 24 + 1 + 3)
    const view = new DataView(table.buffer)
    expect(view.getBigUint64(0)).toBe(0x70000n)
    expect([view.getUint32(8), view.getUint16(12), view.getUint16(14)]).toEqual([1, 1, 3])
    expect([view.getUint32(16), view.getUint32(20), view.getUint32(32), view.getUint32(36)]).toEqual([
      1_000_000_000, 5000, 0, 24,
    ])
    expect([40, 48, 56].map((at) => view.getBigUint64(at))).toEqual([0x1_0000_0001n, 0x200000n, 7n])
    expect(new TextDecoder().decode(table.subarray(64))).toBe('1one')
  })

  test('entries begin at multiples of 8 and the last one is not padded', () => {
    const [one, two] = [snapshot({ name: 'a' }), snapshot({ id: '2', name: 'bcd' })]
    const table = encodeSnapshotTable([one, two], 0)
    expect(table.byteLength).toBe(72 + snapshotEntryBytes(two))
    expect(new DataView(table.buffer).getUint16(72 + 14)).toBe(3)
  })

  test('what is encoded decodes to the same', async () => {
    const text = fc.string({ unit: 'grapheme', maxLength: 12 })
    const arbitrary = fc.record({
      l1TableOffset: fc.maxSafeNat().map(host),
      l1Size: fc.nat(0xffffffff),
      id: text,
      name: text,
      dateSeconds: fc.nat(0xffffffff),
      dateNanoseconds: fc.nat(0xffffffff),
      vmClockNanoseconds: fc.bigInt(0n, 0xffff_ffff_ffff_ffffn),
      vmStateSize: fc.maxSafeNat(),
      diskSize: fc.maxSafeNat(),
      icount: fc.option(fc.bigInt(0n, 0xffff_ffff_ffff_fffen), { nil: undefined }),
      unknownExtra: fc.uint8Array({ maxLength: 100 }),
    })
    await fc.assert(
      fc.asyncProperty(fc.array(arbitrary, { maxLength: 6 }), async (values) => {
        const snapshots = values.map((value) => snapshot(value))
        const table = encodeSnapshotTable(snapshots, 0)
        const found = await read(table, snapshots.length)
        expect(found.entries.map((entry) => entry.snapshot)).toEqual(snapshots)
        expect(found.bytes).toBe(table.byteLength)
      }),
      { numRuns: 200 },
    )
  })

  test('short extra data: what it does not reach is unknown', async () => {
    const sizes = await Promise.all(
      [0, 8, 16, 24, 40].map(async (extra) => {
        const { entries } = await read(rawEntry({ extra, vmState32: 99 }), 1)
        const found = entries[0]?.snapshot
        return [found?.vmStateSize, found?.diskSize, found?.icount, found?.unknownExtra.byteLength]
      }),
    )
    expect(sizes.map(([state]) => state)).toEqual([99, 0x607, 0x607, 0x607, 0x607])
    expect(sizes.map(([, size]) => size)).toEqual([undefined, undefined, 0xe0f, 0xe0f, 0xe0f])
    expect(sizes.map(([, , count]) => count)).toEqual([
      undefined,
      undefined,
      undefined,
      0x1011121314151617n,
      0x1011121314151617n,
    ])
    expect(sizes.map(([, , , unknown]) => unknown)).toEqual([0, 0, 0, 0, 16])
  })

  test('a disk size that is not said becomes the current one when the table is written', async () => {
    const { entries } = await read(rawEntry({ extra: 0 }), 1)
    const table = encodeSnapshotTable(
      entries.map((entry) => entry.snapshot),
      4096,
    )
    expect((await read(table, 1)).entries[0]?.snapshot.diskSize).toBe(4096)
  })

  test('names that are no UTF-8 are kept byte by byte', async () => {
    const raw = rawEntry({ extra: 24, id: '7', name: 'xy', vmState32: 0x607 })
    raw[raw.byteLength - 1] = 0xff
    const { entries } = await read(raw, 1)
    expect(entries[0]?.snapshot.name).toBe('x\ufffd')
    const again = encodeSnapshotTable(
      entries.map((entry) => entry.snapshot),
      0,
    )
    expect(again).toEqual(raw)
  })

  test('numbers beyond the cap become the largest safe one, offsets the largest aligned one', async () => {
    const raw = rawEntry({ extra: 24 })
    raw.fill(0xff, 0, 8)
    raw.fill(0xff, 40, 56)
    const { entries } = await read(raw, 1)
    expect(entries[0]?.snapshot).toMatchObject({
      l1TableOffset: 2 ** 64 - 2048,
      vmStateSize: Number.MAX_SAFE_INTEGER,
      diskSize: Number.MAX_SAFE_INTEGER,
    })
  })

  test('limits: extra data, entries, bytes', async () => {
    const fat = rawEntry({ extra: MAX_SNAPSHOT_EXTRA + 1 })
    await expect(read(fat, 1)).rejects.toMatchObject({
      code: 'EFBIG',
      message: 'Too much extra metadata in snapshot table entry 0',
    })
    await expect(read(new Uint8Array(0), MAX_SNAPSHOTS + 1)).rejects.toMatchObject({ code: 'EFBIG' })
    const huge = rawEntry({ extra: 24 })
    new DataView(huge.buffer).setUint16(12, 0xffff)
    const everywhere = (_position: number, bytes: number) => {
      const out = new Uint8Array(bytes)
      out.set(huge.subarray(0, 40))
      return out
    }
    await expect(readSnapshotTable(everywhere, MAX_SNAPSHOTS)).rejects.toMatchObject({ code: 'EFBIG' })
    const trimmed = await readSnapshotTable(everywhere, 1000, true)
    expect(trimmed.dropped).toBe(0)
    expect(() => encodeSnapshotTable(new Array(MAX_SNAPSHOTS + 1).fill(snapshot()), 0)).toThrow(/room/)
  })

  test('trimming cuts extra data and drops what is beyond the limits', async () => {
    const fat = rawEntry({ extra: 5000, id: '3', name: 'kept' })
    const { entries, bytes, dropped } = await read(fat, 1, true)
    expect(entries[0]).toMatchObject({ extraBytes: 5000, snapshot: { id: '3', name: 'kept' } })
    expect(entries[0]?.snapshot.unknownExtra).toEqual(fat.subarray(64, 40 + MAX_SNAPSHOT_EXTRA))
    expect([bytes, dropped]).toEqual([fat.byteLength, 0])
    const endless = rawEntry({ extra: 0xffffff })
    new DataView(endless.buffer).setUint32(36, 0xffffffff)
    expect(await read(endless, 4, true)).toMatchObject({ entries: [], dropped: 4 })
    const many = await read(new Uint8Array(0), MAX_SNAPSHOTS + 5, true)
    expect([many.entries.length, many.dropped]).toEqual([MAX_SNAPSHOTS, 5])
  })
})

describe('a table of bytes', () => {
  const ENTRY = bytesOf(
    '00 00 00 01 00 05 00 00', // l1_table_offset, beyond 4 GiB
    '00 00 00 07', // l1_size
    '00 02', // id_str_size
    '00 04', // name_size
    '65 53 f1 00', // seconds
    '00 0f 42 40', // nanoseconds
    '00 00 00 02 54 0b e4 00', // vm_clock: 10 s
    '00 00 10 00', // vm_state_size in 32 bits
    '00 00 00 18', // extra data
    '00 00 00 00 00 00 10 00', // vm_state_size
    '00 00 00 00 40 00 00 00', // disk size: 1 GiB
    '00 00 00 00 00 00 00 2a', // icount
    '31 32', // "12"
    '73 6e 61 70', // "snap"
  )

  test('is decoded field by field', async () => {
    const { entries, bytes } = await read(ENTRY, 1)
    expect(bytes).toBe(70)
    expect(entries[0]?.snapshot).toMatchObject({
      l1TableOffset: 0x1_0005_0000,
      l1Size: 7,
      id: '12',
      name: 'snap',
      dateSeconds: 1_700_000_000,
      dateNanoseconds: 1_000_000,
      vmClockNanoseconds: 10_000_000_000n,
      vmStateSize: 4096,
      diskSize: 2 ** 30,
      icount: 42n,
    })
  })

  test('is encoded to the same bytes, the second entry at a multiple of 8', async () => {
    const padded = joined(ENTRY, new Uint8Array(2), ENTRY)
    const { entries } = await read(padded, 2)
    const snapshots = entries.map((entry) => entry.snapshot)
    expect(hexOf(encodeSnapshotTable(snapshots, 0))).toBe(hexOf(padded))
  })

  test('the size of the VM state in 32 bits counts only where the extra data has none', async () => {
    const both = ENTRY.slice()
    both.set(bytesOf('00 00 00 02 00 00 00 00'), 40)
    expect((await read(both, 1)).entries[0]?.snapshot.vmStateSize).toBe(0x2_0000_0000)
    const none = joined(ENTRY.subarray(0, 36), bytesOf('00 00 00 00'), ENTRY.subarray(64))
    expect((await read(none, 1)).entries[0]?.snapshot).toMatchObject({ vmStateSize: 4096, diskSize: undefined })
  })
})
