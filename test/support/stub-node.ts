// A node that is in no graph: what I/O and bitmap functions see of one, without a driver behind it.

import { defaultLimits } from '../../src/common/limits.js'
import { MainLoop, MainLoopGate } from '../../src/global-state/main-loop.js'
import type { BlockDriverState } from '../../src/io/block-node.js'
import { createEnvironment } from '../../src/io/environment.js'
import { createRequestState } from '../../src/io/request-state.js'

export const stubEnvironment = createEnvironment({ stallAfterMs: 60_000 })

/** A node called `nodeName` of `length` bytes; `overrides` replace what it would have. */
export function stubNode(
  nodeName: string,
  length: number,
  overrides: Partial<BlockDriverState> = {},
): BlockDriverState {
  const node = {
    nodeName,
    driver: { name: 'stub', kind: 'protocol', supportsBacking: false },
    io: { length: () => length, read: () => {} },
    openFlags: 2,
    detectZeroes: 'off',
    readOnly: false,
    inactive: false,
    closed: false,
    children: [],
    parents: new Set(),
    file: undefined,
    backing: undefined,
    ...overrides,
  } as unknown as BlockDriverState
  const state = createRequestState(stubEnvironment, node, defaultLimits())
  state.length = length
  return Object.assign(node, { state })
}

/** Runs `fn` in a main-loop section of the stub environment. */
export function inMainLoop<T>(fn: (main: MainLoop) => T | Promise<T>): Promise<T> {
  return MainLoop.section(new MainLoopGate(stubEnvironment), async (main) => fn(main), 'test')
}
