// Runs of the graph model that failed once, as the failure printed them, with what was wrong.

import type { GraphCommand } from '../../src/testing/model/command.js'

export interface Regression {
  why: string
  commands: GraphCommand[]
  order: number[]
}

const plain = { readOnly: false, forceShare: false, limited: false, mistake: 'none' as const }
const at = (command: GraphCommand['command'], wait = false): GraphCommand => ({ command, steps: 0, wait })
const open = (driver: 'overlay' | 'staged' | 'throttle', choice: { child?: number; inline?: boolean }, wait = false) =>
  at({ type: 'open', driver, child: choice.child ?? 0, inline: choice.inline === true, ...plain }, wait)

/** An overlay over a disk of its own, a disk, a writing backend on each, and an overlay without a backing file. */
const beginning: GraphCommand[] = [
  open('overlay', { inline: true }, true),
  open('staged', {}, true),
  at({ type: 'add-backend', node: 0, perm: 11, shared: 15, empty: false }, true),
  at({ type: 'add-backend', node: 8, perm: 11, shared: 15, empty: false }, true),
  open('overlay', { child: 1 }, true),
]

/** All runs that failed once. */
export const regressions: Regression[] = [
  {
    why: 'a node closed inside a drain-all kept its quiesce counter',
    commands: [
      ...beginning,
      at({ type: 'drain-all' }),
      at({ type: 'close', node: 1 }),
      at({ type: 'end-section', section: 0 }),
    ],
    order: [],
  },
  {
    why: 'a bitmap made while a plain write was in flight missed it',
    commands: [
      ...beginning,
      at({ type: 'insert-filter', node: 0, taken: false }),
      open('throttle', { inline: true }),
      at({ type: 'insert-filter', node: 0, taken: false }),
      at({ type: 'request', backend: 7, kind: 'write', sector: 0, abort: false }),
      at({ type: 'insert-filter', node: 0, taken: false }),
      at({ type: 'insert-filter', node: 0, taken: false }),
      at({ type: 'add-bitmap', node: 48, name: 0 }),
      at({ type: 'end-section', section: 0 }),
    ],
    order: [1],
  },
]
