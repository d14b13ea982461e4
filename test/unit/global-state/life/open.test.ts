// Opening nodes: options in all their forms, what is refused and how, inheritance, probing, and that a failure leaves nothing.

import { describe, expect, it } from 'vitest'
import { BDRV_CHILD_FILTERED, BDRV_CHILD_METADATA, BDRV_CHILD_PRIMARY } from '../../../../src/common/child-role.js'
import { BlockError } from '../../../../src/common/error.js'
import { BDRV_O_NO_IO, BDRV_O_UNMAP } from '../../../../src/common/open-flags.js'
import { type BlockDriver, defineDriver } from '../../../../src/global-state/driver.js'
import { openNode } from '../../../../src/global-state/life/open.js'
import { read } from '../../../../src/io/read.js'
import { storageDriver, storageOf } from '../../../../src/testing/storage/memory-storage.js'
import { GraphWorld } from '../../../support/graph-world.js'

const memory = (name: string) => ({ driver: 'memory', 'node-name': name, size: 4096 })

/** A format that claims images with its mark, and one whose open fails after its file is attached. */
const marked = defineDriver({
  name: 'marked',
  kind: 'format',
  options: {},
  childNames: ['file'],
  probe: (header) => (header[0] === 0x4d ? 90 : 0),
  async open(context) {
    const file = await context.child('file', BDRV_CHILD_FILTERED | BDRV_CHILD_PRIMARY)
    return {
      io: { length: () => file.node.state.length, read: (offset, into) => read(file, offset, into) },
      state: undefined,
    }
  },
}) as BlockDriver
const broken = defineDriver({
  name: 'broken',
  kind: 'format',
  options: {},
  childNames: ['file'],
  async open(context) {
    await context.child('file', BDRV_CHILD_FILTERED | BDRV_CHILD_PRIMARY)
    throw new BlockError('EIO', 'the header is damaged')
  },
}) as BlockDriver
const readOnlyMedium = defineDriver({
  name: 'cdrom',
  kind: 'protocol',
  options: {},
  open(context) {
    context.applyAutoReadOnly('EROFS', 'the medium cannot be written')
    return { io: { length: () => 2048, read: () => {} }, state: undefined }
  },
}) as BlockDriver

describe('options', () => {
  const forms: [string, Record<string, unknown>][] = [
    ['nested', { driver: 'raw', 'node-name': 'top', file: memory('disk') }],
    [
      'dotted',
      { driver: 'raw', 'node-name': 'top', 'file.driver': 'memory', 'file.node-name': 'disk', 'file.size': '4096' },
    ],
    [
      'a json: name',
      { filename: 'json:{"driver":"raw","node-name":"top","file":{"driver":"memory","node-name":"disk","size":4096}}' },
    ],
  ]
  it.each(forms)('are taken in %s form', async (_form, options) => {
    const world = new GraphWorld()
    const top = await world.open(options)
    expect([top.nodeName, top.file?.node.nodeName, top.state.length]).toEqual(['top', 'disk', 4096])
    expect(top.file?.node.inheritsFrom).toBe(top)
    await world.close(top)
    expect(world.graph.nodes.size).toBe(0)
  })

  it('explicit ones win over those of a json: name', async () => {
    const world = new GraphWorld()
    const node = await world.open({ filename: 'json:{"driver":"memory","size":512}', size: 1024 })
    expect(node.state.length).toBe(1024)
  })

  it('may name a node that exists; it is not closed with its user', async () => {
    const world = new GraphWorld()
    const disk = await world.memory('disk')
    const top = await world.open({ driver: 'raw', file: 'disk' })
    expect(top.file?.node).toBe(disk)
    expect(disk.inheritsFrom).toBeUndefined()
    await world.close(top)
    expect([...world.graph.nodes.keys()]).toEqual(['disk'])
  })

  const refused: [string, Record<string, unknown>, string, RegExp][] = [
    [
      'an unknown one, naming driver and option',
      { driver: 'memory', 'node-name': 'x', frobnicate: 1 },
      'EINVAL',
      /memory.*'frobnicate'/,
    ],
    [
      'a leftover of a child that the driver has not',
      { driver: 'memory', 'node-name': 'x', 'file.size': 5 },
      'EINVAL',
      /memory.*'file.size'/,
    ],
    [
      'one of a child that nobody knows',
      { driver: 'raw', file: { ...memory('y'), colour: 'red' } },
      'EINVAL',
      /memory.*'colour'/,
    ],
    ['a size that is none', { driver: 'memory', size: 'large' }, 'EINVAL', /size/],
    ['a negative size', { driver: 'memory', size: -1 }, 'EINVAL', /size/],
    ['a flag that is none', { driver: 'memory', 'read-only': 'perhaps' }, 'EINVAL', /read-only/],
    ['a driver that is no string', { driver: 7 }, 'EINVAL', /driver/],
    ['an unknown driver', { driver: 'qcow3' }, 'EINVAL', /unknown driver 'qcow3'/],
    ['a node without a driver', { file: memory('y') }, 'EINVAL', /not guessed/],
    ['a driver without its child', { driver: 'raw' }, 'EINVAL', /needs a child 'file'/],
    ['a child that does not exist', { driver: 'raw', file: 'nobody' }, 'ENODEV', /no node 'nobody'/],
    ['a name that is none', { driver: 'memory', 'node-name': '1disk' }, 'EINVAL', /'1disk' is no node name/],
    ['a name that is too long', { driver: 'memory', 'node-name': 'a'.repeat(32) }, 'EINVAL', /no node name/],
    ['a name that is taken', { driver: 'memory', 'node-name': 'taken' }, 'EEXIST', /'taken' is taken/],
    [
      'force-share of a writable node',
      { driver: 'memory', 'force-share': true },
      'EINVAL',
      /force-share=on can only be used with read-only images/,
    ],
    ['detect-zeroes=unmap without discard', { driver: 'memory', 'detect-zeroes': 'unmap' }, 'EINVAL', /detect-zeroes/],
    ['a json: name that is none', { filename: 'json:{"driver"' }, 'EINVAL', /JSON/],
  ]
  it.each(refused)('refuses %s', async (_what, options, code, message) => {
    const world = new GraphWorld()
    await world.memory('taken')
    const before = world.serialise()
    await expect(world.open(options)).rejects.toMatchObject({ code, message: expect.stringMatching(message) })
    expect(world.serialise()).toBe(before)
    await world.memory('x')
    await world.memory('y')
  })

  it('gives nodes without a name one that users cannot type', async () => {
    const world = new GraphWorld()
    const node = await world.open({ driver: 'memory', size: 512 })
    expect(node.nodeName).toMatch(/^#block\d+$/)
    expect(world.graph.node(node.nodeName)).toBe(node)
  })

  it('shares one namespace between nodes and backends', async () => {
    const world = new GraphWorld()
    const disk = await world.memory('disk')
    await world.backend(disk, { name: 'virtio0' })
    await expect(world.memory('virtio0')).rejects.toMatchObject({ code: 'EEXIST' })
    await expect(world.backend(disk, { name: 'disk' })).rejects.toMatchObject({ code: 'EEXIST' })
  })
})

describe('a failed open', () => {
  it('closes what it opened on the way and frees the names', async () => {
    const world = new GraphWorld({ drivers: [broken] })
    const before = world.serialise()
    const options = {
      driver: 'broken',
      'node-name': 'top',
      file: { driver: 'throttle', 'node-name': 'mid', file: memory('disk') },
    }
    await expect(world.open(options)).rejects.toMatchObject({ code: 'EIO', node: 'top' })
    expect(world.serialise()).toBe(before)
    expect(
      world
        .eventsOf('node-closed')
        .map(({ node }) => node)
        .sort(),
    ).toEqual(['disk', 'mid'])
    for (const name of ['top', 'mid', 'disk']) await world.memory(name)
    expect(world.unrest()).toEqual([])
  })

  it('leaves a node it referred to as it was', async () => {
    const world = new GraphWorld({ drivers: [broken] })
    const disk = await world.memory('disk')
    await world.backend(disk)
    const before = world.serialise()
    await expect(world.open({ driver: 'broken', file: 'disk' })).rejects.toMatchObject({ code: 'EIO' })
    expect(world.serialise()).toBe(before)
  })

  it('inside a drained child releases what it was told', async () => {
    const world = new GraphWorld({ drivers: [broken] })
    await world.memory('disk')
    await world.main(async (main) => {
      const { drainAll } = await import('../../../../src/global-state/drain-all.js')
      const all = await drainAll(main, world.graph)
      await expect(openNode(main, world.graph, { driver: 'broken', file: 'disk' })).rejects.toMatchObject({
        code: 'EIO',
      })
      all.end()
    })
    expect(world.unrest()).toEqual([])
  })
})

describe('inheritance by role', () => {
  it('a file is as its parent, a backing file is read-only, discard is left to the node above', async () => {
    const world = new GraphWorld()
    const top = await world.open({
      driver: 'overlay',
      'node-name': 'top',
      'cache.no-flush': true,
      backing: { driver: 'raw', 'node-name': 'base', file: { ...memory('disk') } },
    })
    const [base, disk] = [world.graph.node('base'), world.graph.node('disk')]
    expect([top.readOnly, base.readOnly, disk.readOnly]).toEqual([false, true, true])
    expect([top.openFlags & BDRV_O_UNMAP, base.openFlags & BDRV_O_UNMAP]).toEqual([0, BDRV_O_UNMAP])
    expect([base.options['cache.no-flush'], disk.options['cache.no-flush']]).toEqual([true, true])
  })

  it('what a child says itself wins', async () => {
    const world = new GraphWorld()
    await world.open({ driver: 'raw', 'read-only': true, file: { ...memory('disk'), 'read-only': false } })
    expect(world.graph.node('disk').readOnly).toBe(false)
  })

  it('force-share shares whatever the parent does not', async () => {
    const world = new GraphWorld()
    const disk = await world.memory('disk', { 'read-only': true, 'force-share': true })
    const backend = await world.backend(await world.open({ driver: 'raw', 'node-name': 'top', file: 'disk' }), {
      perm: 1,
      shared: 0,
    })
    expect([...disk.parents][0]).toMatchObject({ perm: 1, shared: 15 })
    expect(backend.edge).toMatchObject({ perm: 1, shared: 0 })
  })
})

describe('probing', () => {
  const world = () =>
    new GraphWorld({
      drivers: [
        marked,
        storageDriver(storageOf(new Uint8Array(1024).fill(0x4d)), 'image'),
        storageDriver(storageOf(new Uint8Array(1024)), 'blank'),
      ],
    })

  it('happens only on request', async () => {
    const { graph, ...rest } = world()
    void rest
    await expect(graph.mainLoop((main) => openNode(main, graph, { file: { driver: 'image' } }))).rejects.toMatchObject({
      code: 'EINVAL',
      hint: expect.stringMatching(/probe: true/),
    })
    const node = await graph.mainLoop((main) =>
      openNode(main, graph, { 'node-name': 'top', file: { driver: 'image', 'node-name': 'file' } }, { probe: true }),
    )
    expect([node.driver.name, node.probed, node.file?.node.nodeName]).toEqual(['marked', true, 'file'])
    expect(graph.nodes.size).toBe(2)
  })

  it('takes raw where nobody claims the image, also for one that is named', async () => {
    const { graph } = world()
    const blank = await graph.mainLoop((main) => openNode(main, graph, { driver: 'blank', 'node-name': 'blank' }))
    const node = await graph.mainLoop((main) => openNode(main, graph, { file: 'blank' }, { probe: true }))
    expect([node.driver.name, node.probed, node.file?.node]).toEqual(['raw', true, blank])
  })
})

describe('auto-read-only', () => {
  it('falls back where it is allowed and fails with the driver’s error where not', async () => {
    const world = new GraphWorld({ drivers: [readOnlyMedium] })
    await expect(world.open({ driver: 'cdrom' })).rejects.toMatchObject({
      code: 'EROFS',
      message: expect.stringMatching(/cannot be written/),
    })
    const node = await world.open({ driver: 'cdrom', 'auto-read-only': true })
    expect([node.readOnly, node.options['read-only']]).toEqual([true, true])
    expect((await world.open({ driver: 'cdrom', 'read-only': true })).readOnly).toBe(true)
  })
})

describe('permissions at open', () => {
  it('name both users and the permission', async () => {
    const world = new GraphWorld()
    const disk = await world.memory('disk')
    await world.backend(disk, { name: 'writer', shared: 0x5 })
    await expect(world.backend(disk, { name: 'other' })).rejects.toMatchObject({
      code: 'EPERM',
      node: 'disk',
      message: expect.stringMatching(
        /block device 'other' uses 'write' \(as 'root'\), which block device 'writer' does not allow \(as 'root'\)/,
      ),
    })
    expect(world.graph.backends.size).toBe(1)
    await world.backend(disk, { name: 'other', perm: 1 })
  })

  it('refuse a writer of a read-only node, through any number of nodes', async () => {
    const world = new GraphWorld()
    await world.memory('disk', { 'read-only': true })
    await world.open({ driver: 'throttle', 'node-name': 'mid', file: 'disk' })
    const top = await world.open({ driver: 'raw', 'node-name': 'top', file: 'mid' })
    await expect(world.backend(top, { name: 'writer' })).rejects.toMatchObject({
      code: 'EPERM',
      node: 'disk',
      message: expect.stringMatching(/node 'mid' \(as 'file'\) needs write.*read-only/),
    })
    await world.backend(top, { name: 'reader', perm: 1 })
  })
})

describe('settings and json: names', () => {
  it('what a json: name says comes before what is inherited', async () => {
    const world = new GraphWorld()
    const name = 'json:{"driver":"memory","size":4096,"read-only":false}'
    const top = await world.open({ driver: 'overlay', backing: { filename: name } })
    expect(top.backing?.node.readOnly).toBe(false)
  })

  it('flags are those of the top node; metadata is read even where data is not', async () => {
    const world = new GraphWorld()
    const sink = defineDriver({
      name: 'sink',
      kind: 'format',
      options: {},
      async open(context) {
        await context.child('meta', BDRV_CHILD_METADATA)
        return { io: { length: () => 0, read: () => {} }, state: undefined }
      },
    }) as BlockDriver
    world.graph.registry.register(sink)
    const options = { driver: 'sink', meta: { driver: 'memory', size: 4096 } }
    const node = await world.main((main) => openNode(main, world.graph, options, { flags: BDRV_O_NO_IO }))
    expect(node.openFlags & BDRV_O_NO_IO).toBe(BDRV_O_NO_IO)
    expect((node.child('meta')?.node.openFlags ?? 0) & BDRV_O_NO_IO).toBe(0)
  })

  it('an aborted open leaves nothing, and the name free', async () => {
    const world = new GraphWorld()
    const abort = new AbortController()
    const late = defineDriver({
      name: 'late',
      kind: 'format',
      options: {},
      async open(context) {
        await context.child('file', BDRV_CHILD_FILTERED | BDRV_CHILD_PRIMARY)
        abort.abort()
        return { io: { length: () => 0, read: () => {} }, state: undefined }
      },
    }) as BlockDriver
    world.graph.registry.register(late)
    const options = { driver: 'late', 'node-name': 'top', file: memory('below') }
    const opening = world.main((main) => openNode(main, world.graph, options, { signal: abort.signal }))
    await expect(opening).rejects.toMatchObject({ code: 'ECANCELED' })
    expect(world.graph.nodes.size).toBe(0)
    await world.memory('top')
    await world.memory('below')
  })
})
