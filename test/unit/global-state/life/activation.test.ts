// Handing an image over and taking it back: a driver hears both halves.

import { expect, it } from 'vitest'
import { BlockError } from '../../../../src/common/error.js'
import { type BlockDriver, defineDriver } from '../../../../src/global-state/driver.js'
import { inactivateAll } from '../../../../src/global-state/life/activation.js'
import { GraphWorld } from '../../../support/graph-world.js'

it('a driver that was made inactive before its node could be takes the image up again', async () => {
  const heard: string[] = []
  let vetoes = false
  const moody = defineDriver({
    name: 'moody',
    kind: 'protocol',
    options: {},
    open: () => ({ io: { length: () => 4096, read: () => {} }, state: undefined }),
    permissions: {
      check: () => {
        if (vetoes) throw new BlockError('EAGAIN', 'the lock is taken')
      },
      set: () => {},
      abort: () => {},
    },
    activate: () => void heard.push('activate'),
    inactivate: () => void heard.push('inactivate'),
  }) as BlockDriver
  const world = new GraphWorld({ drivers: [moody] })
  await world.open({ driver: 'moody' })
  const before = world.serialise()
  vetoes = true
  await expect(world.main((main) => inactivateAll(main, world.graph))).rejects.toMatchObject({ code: 'EAGAIN' })
  expect(heard).toEqual(['inactivate', 'activate'])
  expect(world.serialise()).toBe(before)
})

it('an empty graph is inactive at once', async () => {
  const world = new GraphWorld()
  await world.main((main) => inactivateAll(main, world.graph))
})
