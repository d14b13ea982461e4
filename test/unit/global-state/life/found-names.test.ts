// Names found inside an image: the graph's policy decides, json: never passes, and what the user says comes first.

import { expect, it } from 'vitest'
import { BDRV_CHILD_COW, BDRV_CHILD_IMAGE } from '../../../../src/common/child-role.js'
import { type BlockDriver, defineDriver } from '../../../../src/global-state/driver.js'
import { BlockGraph } from '../../../../src/global-state/graph.js'
import { openNode } from '../../../../src/global-state/life/open.js'
import type { FoundName, NamePolicy } from '../../../../src/global-state/name-policy.js'
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
