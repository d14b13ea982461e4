// Commands of the model test: small worlds, many kinds, about a fifth of them illegal on purpose or by the state they meet.

import * as fc from 'fast-check'
import type { EditCommand, GraphCommand, IoCommand, OpenMistake } from '../model/command.js'
import { permissionPair } from './permissions.js'
import { requestKind } from './requests.js'

const index = () => fc.nat({ max: 63 })
const seldom = () => fc.nat({ max: 9 }).map((dice) => dice === 9)

function open(): fc.Arbitrary<EditCommand> {
  const mistakes: OpenMistake[] = ['taken-name', 'unknown-option', 'unknown-driver', 'missing-child', 'wrong-type']
  return fc.record({
    type: fc.constant('open' as const),
    driver: fc.constantFrom(
      'staged' as const,
      'staged' as const,
      'overlay' as const,
      'overlay' as const,
      'throttle' as const,
      'raw' as const,
    ),
    child: index(),
    inline: fc.boolean(),
    readOnly: seldom(),
    forceShare: seldom(),
    limited: seldom(),
    mistake: fc.oneof(
      { weight: 6, arbitrary: fc.constant('none' as const) },
      { weight: 1, arbitrary: fc.constantFrom(...mistakes) },
    ),
  })
}

function edits(): fc.Arbitrary<EditCommand>[] {
  const backend = index()
  const node = index()
  return [
    open(),
    open(),
    fc.record({ type: fc.constant('close' as const), node }),
    fc
      .tuple(permissionPair(), node, seldom())
      .map(([pair, at, empty]) => ({ type: 'add-backend' as const, node: at, ...pair, empty })),
    fc.record({ type: fc.constantFrom('remove-backend' as const, 'eject' as const), backend }),
    fc.record({ type: fc.constant('insert' as const), backend, node }),
    fc
      .tuple(permissionPair(), backend)
      .map(([pair, at]) => ({ type: 'set-permissions' as const, backend: at, ...pair })),
    fc.record({ type: fc.constant('insert-filter' as const), node, taken: seldom() }),
    fc.record({ type: fc.constant('drop-filter' as const), node }),
    fc.record({ type: fc.constant('append' as const), overlay: node, top: node }),
    fc.record({ type: fc.constant('replace' as const), from: node, to: node }),
    fc.record({ type: fc.constant('set-backing' as const), node, backing: node, none: seldom() }),
    fc.record({ type: fc.constant('freeze' as const), top: node, depth: fc.integer({ min: 1, max: 3 }) }),
    fc.record({ type: fc.constant('unfreeze' as const), freeze: index() }),
    fc.record({
      type: fc.constant('reopen' as const),
      nodes: fc.array(index(), { minLength: 1, maxLength: 3 }),
      readOnly: fc.boolean(),
      veto: fc.constantFrom('none' as const, 'none' as const, 'reopen' as const, 'permissions' as const),
    }),
    fc.record({ type: fc.constant('activate' as const), active: fc.boolean() }),
    fc.record({ type: fc.constant('drain-all' as const) }),
    fc.record({ type: fc.constantFrom('add-bitmap' as const, 'remove-bitmap' as const), node, name: index() }),
    fc.record({ type: fc.constant('merge-bitmap' as const), node, name: index(), from: index() }),
  ]
}

function request(): fc.Arbitrary<IoCommand> {
  return fc.record({
    type: fc.constant('request' as const),
    backend: index(),
    kind: requestKind(['read', 'write', 'write-zeroes', 'discard', 'flush', 'truncate']),
    sector: fc.nat({ max: 7 }),
    abort: seldom(),
  })
}

function io(): fc.Arbitrary<IoCommand> {
  return fc.oneof(
    { weight: 10, arbitrary: request() },
    {
      weight: 2,
      arbitrary: fc.record({
        type: fc.constant('begin-section' as const),
        nodes: fc.array(index(), { minLength: 1, maxLength: 3 }),
      }),
    },
    { weight: 3, arbitrary: fc.record({ type: fc.constant('end-section' as const), section: index() }) },
    { weight: 1, arbitrary: fc.record({ type: fc.constant('arm-veto' as const), node: index() }) },
    {
      weight: 1,
      arbitrary: fc.record({
        type: fc.constant('inject-error' as const),
        code: fc.constantFrom('EIO' as const, 'ENOSPC' as const),
      }),
    },
  )
}

/** What every run begins with: a disk, an overlay on it and a backend, so that there is something to work on. */
const BEGINNING: readonly GraphCommand[] = [
  beginning('overlay', { inline: true }),
  beginning('staged', {}),
  { command: { type: 'add-backend', node: 0, perm: 11, shared: 15, empty: false }, steps: 0, wait: true },
  { command: { type: 'add-backend', node: 8, perm: 11, shared: 15, empty: false }, steps: 0, wait: true },
  // An overlay without a backing file, ready to be put on top of something.
  beginning('overlay', { child: 1 }),
]

function beginning(driver: 'overlay' | 'staged', choice: { inline?: boolean; child?: number }): GraphCommand {
  const plain = { readOnly: false, forceShare: false, limited: false, mistake: 'none' as const }
  const command = { type: 'open' as const, driver, child: choice.child ?? 0, inline: choice.inline === true, ...plain }
  return { command, steps: 0, wait: true }
}

/** A list of commands for `runGraphModel`. */
export function graphCommands(size: { minLength?: number; maxLength?: number } = {}): fc.Arbitrary<GraphCommand[]> {
  const command = fc.record({
    command: fc.oneof({ weight: 1, arbitrary: fc.oneof(...edits()) }, { weight: 2, arbitrary: io() }),
    steps: fc.nat({ max: 3 }),
    wait: fc.boolean(),
  })
  return fc
    .array(command, { minLength: size.minLength ?? 1, maxLength: size.maxLength ?? 80, size: 'max' })
    .map((list) => [...BEGINNING, ...list])
}
