import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { BLK_PERM_WRITE } from '../../../../src/common/permissions.js'
import { fileDriver } from '../../../../src/drivers/file/index.js'
import { type BlkdebugNodeState, blkdebugDriver } from '../../../../src/drivers/filters/blkdebug.js'
import type { BlockDriver } from '../../../../src/global-state/driver.js'
import { drained } from '../../../../src/io/drained.js'
import { Recording, recordingDriver } from '../../../../src/testing/storage/recording.js'
import { settleMicrotasks } from '../../../../src/testing/virtual-clock.js'
import { codeOf, openRig } from '../../../support/driver-rig.js'
import { emptyImage } from '../../../support/qcow2-image.js'

const over = (options: Record<string, unknown>, child = 'image') => ({
  driver: 'blkdebug',
  ...options,
  [child]: { driver: 'memory', size: '1M' },
})
const data = new Uint8Array(512).fill(1)

describe('blkdebug', () => {
  it.each(['image', 'file'])('passes everything on to a child under %s', async (child) => {
    const { backend, close } = await openRig(over({}, child))
    await backend.write(512, data)
    await backend.writeZeroes(512, 256)
    await backend.discard(0, 512)
    await backend.flush()
    const into = new Uint8Array(512)
    await backend.read(512, into)
    expect([into[0], into[255], into[256]]).toEqual([0, 0, 1])
    expect(await close()).toBe(0)
  })

  it('as the file of a format stands over a file that is not probed', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'blockgraph-blkdebug-'))
    try {
      const filename = join(folder, 'disk.qcow2')
      writeFileSync(filename, emptyImage(1_048_576, { clusterBits: 12 }))
      for (const driver of [{ driver: 'qcow2' }, {}]) {
        const options = { ...driver, 'file.driver': 'blkdebug', 'file.image.filename': filename }
        const { node, close } = await openRig(options, {
          drivers: [fileDriver as BlockDriver],
          settings: { probe: true },
        })
        const below = node.file?.node
        expect([node, below, below?.children[0]?.node].map((at) => at?.driver.name)).toEqual([
          'qcow2',
          'blkdebug',
          'file',
        ])
        expect(await close()).toBe(0)
      }
    } finally {
      rmSync(folder, { recursive: true })
    }
  })

  it('fails what a rule given as dotted options covers', async () => {
    const { backend, close } = await openRig(
      over({
        'inject-error.0.event': 'write_aio',
        'inject-error.0.errno': '28',
        'inject-error.0.sector': '4',
        'inject-error.0.once': 'on',
      }),
    )
    await backend.write(0, data)
    expect(await codeOf(() => backend.write(2048, data))).toBe('ENOSPC')
    await backend.write(2048, data)
    await close()
  })

  it('fails flushes and block status where told to', async () => {
    const { backend, node, close } = await openRig(
      over({ 'inject-error': [{ event: 'flush_to_disk', iotype: 'flush', errno: 'EIO', once: true }] }),
    )
    await backend.write(0, data)
    expect(await codeOf(() => backend.flush())).toBe('EIO')
    await backend.flush()
    expect(node.state.inFlight).toBe(0)
    await close()
  })

  it('holds a request at a breakpoint, and a drain waits for it', async () => {
    const { backend, node, close } = await openRig(over({}))
    const state = node.driverState as BlkdebugNodeState
    blkdebugDriver.debug?.breakpoint(state, 'write_aio', 'A')
    let [written, quiet] = [false, false]
    const request = backend.write(0, data).then(() => {
      written = true
    })
    await settleMicrotasks()
    expect(blkdebugDriver.debug?.isSuspended(state, 'A')).toBe(true)
    const section = drained(node).then((begun) => {
      quiet = true
      return begun
    })
    await settleMicrotasks()
    expect([written, quiet]).toEqual([false, false])
    blkdebugDriver.debug?.resume(state, 'A')
    await request
    ;(await section).end()
    await close()
    expect(await codeOf(() => blkdebugDriver.debug?.breakpoint(state, 'no_such_event', 'B'))).toBe('ENOENT')
  })

  it('counts an event of a driver above instead of the request itself', async () => {
    const { backend, node, close } = await openRig(
      over({
        'set-state': [
          { event: 'read_aio', state: 1, new_state: 2 },
          { event: 'read_aio', state: 2, new_state: 3 },
        ],
      }),
    )
    const { debug } = node.driverState as BlkdebugNodeState
    await node.io.debugEvent?.('read_aio')
    await backend.read(0, new Uint8Array(512))
    expect(debug.state).toBe(2)
    await node.io.debugEvent?.('read_aio')
    expect(debug.state).toBe(3)
    await close()
  })

  it('narrows the limits of what is below', async () => {
    const recording = new Recording()
    const rig = await openRig(
      {
        driver: 'blkdebug',
        align: 4096,
        'max-transfer': 8192,
        'opt-write-zero': 16_384,
        'max-write-zero': 32_768,
        'opt-discard': 8192,
        'max-discard': 16_384,
        image: { driver: 'recording', file: { driver: 'memory', size: '1M' } },
      },
      { drivers: [recordingDriver(recording)] },
    )
    await rig.backend.write(4096, new Uint8Array(20_480))
    await rig.backend.writeZeroes(4096, 65_536)
    await rig.backend.discard(0, 65_536)
    const seen = recording.entries.map((entry) => {
      if (entry.kind === 'write') return ['write', entry.offset, entry.data.byteLength] as const
      return 'bytes' in entry ? ([entry.kind, entry.offset, entry.bytes] as const) : ([entry.kind, 0, 0] as const)
    })
    for (const [kind, offset, bytes] of seen) {
      expect(offset % 4096).toBe(0)
      if (kind === 'write') expect(bytes).toBeLessThanOrEqual(8192)
      if (kind === 'zero') expect([offset % 16_384, bytes % 16_384, bytes <= 32_768]).toEqual([0, 0, true])
      if (kind === 'discard') expect([offset % 8192, bytes % 8192, bytes <= 16_384]).toEqual([0, 0, true])
    }
    // The ends of the zero write are below the alignment the driver knows: they came as writes.
    expect(seen.filter(([kind]) => kind === 'zero').reduce((sum, [, , bytes]) => sum + bytes, 0)).toBe(49_152)
    await rig.close()
  })

  it.each([
    [{ align: 3 }],
    [{ align: 4096, 'max-transfer': 5000 }],
    [{ 'inject-error': [{ event: 'nonsense' }] }],
    [{ 'inject-error': [{ event: 'none', colour: 'red' }] }],
    [{ 'inject-error': [{ event: 'none', errno: 'ENONSENSE' }] }],
    [{ 'set-state': [{ event: 'none' }] }],
    [{ 'take-child-perms': ['everything'] }],
  ])('refuses %j with EINVAL', async (options) => {
    expect(await codeOf(() => openRig(over(options)))).toBe('EINVAL')
  })

  it('takes and unshares permissions of its child', async () => {
    const { node, close } = await openRig(over({ 'take-child-perms': ['write'], 'unshare-child-perms': ['write'] }), {
      perm: 1,
    })
    const edge = node.children[0]
    expect((edge?.perm ?? 0) & BLK_PERM_WRITE).toBe(BLK_PERM_WRITE)
    expect((edge?.shared ?? 0) & BLK_PERM_WRITE).toBe(0)
    await close()
  })
})
