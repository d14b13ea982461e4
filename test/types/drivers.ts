// What must not compile about declaring a driver, each next to the same thing without the mistake. Type-checked, never run.

import { BDRV_CHILD_FILTERED, BDRV_CHILD_PRIMARY } from '../../src/common/child-role.js'
import { type BlockDriver, defineDriver } from '../../src/global-state/driver.js'
import {
  enumOption,
  flagOption,
  integerOption,
  sizeOption,
  stringOption,
} from '../../src/global-state/options/option-schema.js'
import type { NodeIo } from '../../src/io/node-io.js'

declare const io: NodeIo

export const soundDriver = defineDriver({
  name: 'sound',
  kind: 'filter',
  options: {
    size: sizeOption({ required: true }),
    label: stringOption(),
    fast: flagOption({ default: false }),
    depth: integerOption({ default: 1 }),
    mode: enumOption(['a', 'b'], { default: 'a' }),
  },
  async open(context, options) {
    const size: number = options.size
    const label: string | undefined = options.label
    const fast: boolean = options.fast
    const depth: number = options.depth
    const mode: 'a' | 'b' = options.mode
    // @ts-expect-error An option without a default may be left out.
    const surely: string = options.label
    // @ts-expect-error A size is a number, whatever it was written as.
    const text: string = options.size
    // @ts-expect-error The schema has no such option.
    void options.missing
    // @ts-expect-error One of two words.
    const third: 'c' = options.mode
    // @ts-expect-error Options are read, not written.
    options.depth = 2
    // @ts-expect-error A role is asked for.
    await context.child('file')
    await context.child('file', BDRV_CHILD_FILTERED | BDRV_CHILD_PRIMARY)
    return { io, state: { size, label, fast, depth, mode, surely, text, third } }
  },
  close(state) {
    const depth: number = state.depth
    // @ts-expect-error The state is what open returned.
    void state.missing
    return void depth
  },
})

/** Any driver can stand in a list of drivers. */
export const drivers: BlockDriver[] = [soundDriver]

export const faulty = [
  defineDriver({
    name: 'no-kind',
    // @ts-expect-error Not a kind of driver.
    kind: 'device',
    options: {},
    open: () => ({ io, state: undefined }),
  }),
  defineDriver({
    name: 'no-read',
    kind: 'protocol',
    options: {},
    // @ts-expect-error Reading is required.
    open: () => ({ io: { length: () => 0 }, state: undefined }),
  }),
  defineDriver({
    name: 'no-schema',
    kind: 'protocol',
    // @ts-expect-error An option is described by a field, not by its default.
    options: { size: 1024 },
    open: () => ({ io, state: undefined }),
  }),
  defineDriver({
    name: 'token',
    kind: 'protocol',
    options: {},
    open(context) {
      // @ts-expect-error The context of an open has no token to keep.
      void context.main
      return { io, state: undefined }
    },
  }),
]

// @ts-expect-error The default has the type of the option.
sizeOption({ default: 'big' })
// @ts-expect-error The default is one of the words.
enumOption(['a', 'b'], { default: 'c' })
