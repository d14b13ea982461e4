// Names found inside an image: the graph's policy decides, json: never passes, and what the user says comes first.

import { expect, it } from 'vitest'
import { BDRV_CHILD_COW, BDRV_CHILD_DATA, BDRV_CHILD_IMAGE } from '../../../../src/common/child-role.js'
import { type BlockDriver, defineDriver } from '../../../../src/global-state/driver.js'
import { BlockGraph } from '../../../../src/global-state/graph.js'
import { openNode } from '../../../../src/global-state/life/open.js'
import type { FoundName, NamePolicy } from '../../../../src/global-state/name-policy.js'
import { exactFilename } from '../../../../src/global-state/node-filename.js'
import type { NodeState } from '../../../../src/global-state/node-state.js'
import { stringOption } from '../../../../src/global-state/options/option-schema.js'

const disk = defineDriver({
  name: 'file',
  kind: 'protocol',
  options: { filename: stringOption({ required: true }) },
  filename: (options) => options.filename,
  open: () => ({ io: { length: () => 4096, read: () => {}, write: () => {} }, state: undefined }),
}) as BlockDriver

/** An image whose header names `backing`. */
const image = (backing: string) =>
  defineDriver({
    name: 'image',
    kind: 'format',
    supportsBacking: true,
    options: {},
    async open(context) {
      await context.child('file', BDRV_CHILD_IMAGE)
      await context.child('backing', BDRV_CHILD_COW, { driver: 'file', filename: backing })
      return { io: { length: () => 4096, read: () => {} }, state: undefined }
    },
  }) as BlockDriver

async function opened(backing: string, options: Record<string, unknown> = {}, namePolicy?: NamePolicy) {
  const drivers = [disk, image(backing)]
  const graph = new BlockGraph(namePolicy === undefined ? { drivers } : { drivers, namePolicy })
  try {
    const top = { driver: 'image', filename: '/images/top.img', ...options }
    const node = await graph.mainLoop((main) => openNode(main, graph, top))
    return node.backing?.node.options.filename
  } catch (thrown) {
    expect([graph.nodes.size, graph.backends.size]).toEqual([0, 0])
    throw thrown
  }
}

it('a plain name is looked for in the folder of the image', async () => {
  expect(await opened('base.img')).toBe('/images/base.img')
})

it.each(['../secret', '/etc/shadow', 'nbd:host:10809', 'json:{"driver":"file","filename":"x"}'])(
  'by default %s is not opened',
  async (name) => {
    await expect(opened(name)).rejects.toMatchObject({ code: 'EACCES' })
  },
)

it('a policy of the caller hears all of it, and decides', async () => {
  const heard: FoundName[] = []
  expect(await opened('../base.img', {}, (found) => void heard.push(found))).toBe('/images/../base.img')
  expect(heard).toEqual([
    { image: '/images/top.img', name: '../base.img', resolved: '/images/../base.img', use: 'backing' },
  ])
})

it('options in a name are refused whatever the policy says', async () => {
  const name = 'json:{"driver":"file","filename":"/etc/shadow"}'
  await expect(opened(name, {}, () => {})).rejects.toMatchObject({ code: 'EACCES' })
})

it('what the user names is not asked for', async () => {
  expect(await opened('/etc/shadow', { backing: { filename: '/other/base.img' } })).toBe('/other/base.img')
})

it('a child that the user says is not there is not opened by its default', async () => {
  await expect(opened('base.img', { backing: null })).rejects.toMatchObject({ code: 'EINVAL' })
})

it('an image that names itself is refused, and nothing of it stays open', async () => {
  const ring = defineDriver({
    name: 'ring',
    kind: 'format',
    supportsBacking: true,
    options: {},
    async open(context) {
      await context.child('file', BDRV_CHILD_IMAGE)
      await context.child('backing', BDRV_CHILD_COW, { driver: 'ring', filename: 'top.img' })
      return { io: { length: () => 4096, read: () => {} }, state: undefined }
    },
  }) as BlockDriver
  const graph = new BlockGraph({ drivers: [disk, ring] })
  const opening = graph.mainLoop((main) => openNode(main, graph, { driver: 'ring', filename: '/images/top.img' }))
  await expect(opening).rejects.toMatchObject({ code: 'ELOOP' })
  expect(graph.nodes.size).toBe(0)
})

/** Disks that are told apart by `identity`, and images on them whose names are looked up in `named`. */
function imageSet(named: Readonly<Record<string, readonly string[]>>, identity: (filename: string) => string) {
  const opened: string[] = []
  const file = defineDriver<{ filename: ReturnType<typeof stringOption> }, string>({
    name: 'file',
    kind: 'protocol',
    options: { filename: stringOption({ required: true }) },
    filename: (options) => String(options.filename),
    open: (_context, options) => {
      opened.push(String(options.filename))
      return { io: { length: () => 4096, read: () => {}, write: () => {} }, state: String(options.filename) }
    },
    identity: (state) => identity(state),
  }) as BlockDriver
  const format = defineDriver({
    name: 'linked',
    kind: 'format',
    supportsBacking: true,
    childNames: ['file', 'backing', 'data-0', 'data-1'],
    options: {},
    async open(context) {
      const below = await context.child('file', BDRV_CHILD_IMAGE)
      const [backing, ...others] = named[exactFilename(below.node as NodeState) ?? ''] ?? []
      const asNamed = backing === undefined ? {} : { driver: 'linked', filename: backing }
      if (backing !== undefined || context.hasChild('backing')) {
        await context.child('backing', BDRV_CHILD_COW, asNamed)
      }
      for (const [index, other] of others.entries()) {
        await context.child(`data-${index}`, BDRV_CHILD_DATA, { filename: other })
      }
      return { io: { length: () => 4096, read: () => {} }, state: undefined }
    },
  }) as BlockDriver
  const graph = new BlockGraph({ drivers: [file, format], namePolicy: () => {} })
  const open = (options: Record<string, unknown>) => graph.mainLoop((main) => openNode(main, graph, options))
  return { graph, opened, open }
}

it.each([
  ['two images that name each other', { '/a': ['/b'], '/b': ['/a'] }, 3],
  ['an image that names itself by another name', { '/a': ['/other-a'], '/other-a': ['/b'] }, 2],
  ['a data file that is the image', { '/a': ['/b'], '/b': ['/c', '/other-a'] }, 4],
])('%s: refused at the second visit', async (_name, named, most) => {
  const { graph, opened, open } = imageSet(named, (filename) => filename.replace('other-', ''))
  await expect(open({ driver: 'linked', filename: '/a' })).rejects.toMatchObject({
    code: 'ELOOP',
    message: expect.stringMatching(/ring/),
  })
  expect(opened.length).toBe(most)
  expect(graph.nodes.size).toBe(0)
})

it('what the caller builds may hold a file twice', async () => {
  const { open } = imageSet({}, (filename) => filename)
  const node = await open({ driver: 'linked', filename: '/a', backing: { driver: 'linked', 'file.filename': '/a' } })
  expect(node.backing?.node.driver.name).toBe('linked')
})

it('an image set of more than 256 files is refused', async () => {
  const chain = (images: number) =>
    Object.fromEntries(
      Array.from({ length: images }, (_, index) => [`/${index}`, [`/${index + 1}`, `/d${index}`]] as const),
    )
  const small = imageSet(chain(127), (filename) => filename)
  await small.open({ driver: 'linked', filename: '/0' })
  expect(small.opened.length).toBe(255)
  const large = imageSet(chain(128), (filename) => filename)
  await expect(large.open({ driver: 'linked', filename: '/0' })).rejects.toMatchObject({ code: 'EMFILE' })
  expect(large.graph.nodes.size).toBe(0)
})
