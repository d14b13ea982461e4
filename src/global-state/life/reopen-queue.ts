// Which nodes a reopen reaches, and with what: explicit new options before explicit old ones before what is inherited from the
// parent. Pure: nothing is changed here.

import { BDRV_CHILD_COW, type ChildRole } from '../../common/child-role.js'
import { BlockError } from '../../common/error.js'
import {
  BDRV_O_INACTIVE,
  BDRV_O_NO_BACKING,
  BDRV_O_NO_IO,
  BDRV_O_RDWR,
  type OpenFlags,
} from '../../common/open-flags.js'
import type { DetectZeroes } from '../../common/option-names.js'
import type { EdgeState, NodeState } from '../node-state.js'
import { readOptions } from '../options/option-schema.js'
import { type FlatOptions, flattenOptions, type OptionScalar, splitChild } from '../options/options.js'
import {
  effectiveOptions,
  flagsFromOptions,
  GENERIC_OPTIONS,
  type GenericOptions,
  inheritOptions,
  readGenericOptions,
} from './open-options.js'

/** A node to reopen, as asked for. */
export interface ReopenRequest {
  node: NodeState
  /** Nested or dotted. A child under its name: options for an inline child, a node's name, or (backing only) null. */
  options: Readonly<Record<string, unknown>>
  /** Keep what is not named. Default false: it goes back to its default. */
  keepOld?: boolean
}

/** A child link that a reopen changes. */
export interface ChildLink {
  name: string
  role: ChildRole
  edge: EdgeState | undefined
  to: NodeState | undefined
}

/** A node in the queue with everything it will have. */
export interface ReopenEntry {
  node: NodeState
  explicit: FlatOptions
  effective: FlatOptions
  flags: OpenFlags
  readOnly: boolean
  detectZeroes: DetectZeroes
  driverValues: Record<string, unknown>
  oldDriverValues: Record<string, unknown>
  driverChanged: boolean
  links: ChildLink[]
}

interface Named {
  node: NodeState
  given: FlatOptions
  keepOld: boolean
}

interface Pending extends Named {
  parent: ReopenEntry | undefined
  role: ChildRole
}

/** The nodes that `requests` reach, parents before children. A node named later overrides what it would inherit. */
export function queueReopen(requests: readonly ReopenRequest[]): ReopenEntry[] {
  const entries = new Map<NodeState, ReopenEntry>()
  const named = mergeRequests(requests)
  // Owners first: what is named below one of them still inherits from it, as it will be. Last, those that an owner lets go.
  const roots = [...named.keys()].filter((node) => !hasNamedOwner(node, named))
  for (const root of [...roots, ...named.keys()]) {
    const request = named.get(root)
    if (request === undefined) continue
    const pending: Pending[] = [{ ...request, given: {}, parent: undefined, role: 0 }]
    for (let next = pending.shift(); next !== undefined; next = pending.shift()) {
      if (entries.has(next.node)) continue
      const own = named.get(next.node)
      named.delete(next.node)
      const { given, keepOld } = own ?? next
      const { entry, children } = makeEntry({ ...next, given: { ...next.given, ...given }, keepOld })
      entries.set(next.node, entry)
      pending.push(...children)
    }
  }
  return [...entries.values()]
}

/** One request per node: of two for the same node, the later options win, and what the first one said stays. */
function mergeRequests(requests: readonly ReopenRequest[]): Map<NodeState, Named> {
  const named = new Map<NodeState, Named>()
  for (const { node, options, keepOld } of requests) {
    const earlier = named.get(node)
    named.set(node, {
      node,
      given: { ...earlier?.given, ...flattenOptions(options) },
      keepOld: keepOld === true || earlier?.keepOld === true,
    })
  }
  return named
}

/** Whether a node in `named` made this one by its options, directly or through others. */
function hasNamedOwner(node: NodeState, named: ReadonlyMap<NodeState, Named>): boolean {
  for (let owner = node.inheritsFrom; owner !== undefined; owner = owner.inheritsFrom) if (named.has(owner)) return true
  return false
}

function makeEntry(pending: Pending): { entry: ReopenEntry; children: Pending[] } {
  const { node } = pending
  const where = { driver: node.driver.name, node: node.nodeName }
  const { own, links, inline } = takeChildren(node, pending.given, pending.keepOld)
  refuseFixed(node, own)
  const explicit: FlatOptions = pending.keepOld
    ? { ...node.explicitOptions, ...own }
    : { ...fixedOptions(node), ...own }
  const now =
    pending.parent === undefined
      ? inheritFromOwner(node, explicit)
      : inheritFrom(explicit, pending.parent, pending.role)
  // What it inherited from an owner that is gone stays in force.
  const inherited = pending.keepOld ? { ...node.options, ...now } : now
  const { values, rest } = readGenericOptions(inherited, where)
  const driver = readOptions(node.definition.options, rest, where)
  const [left] = Object.keys(driver.rest)
  if (left !== undefined) {
    throw new BlockError('EINVAL', `driver '${node.driver.name}' does not support the option '${left}'`, {
      node: node.nodeName,
      op: 'reopen',
    })
  }
  refuseFixedValues(node, values)
  const kept = node.openFlags & (BDRV_O_INACTIVE | BDRV_O_NO_IO | BDRV_O_NO_BACKING)
  const flags = flagsFromOptions(values, kept)
  const old = readOptions(node.definition.options, driverPart(node.options), where)
  const changed = changedOptions(old.values, driver.values)
  refuseUnchangeable(node, changed)
  const entry: ReopenEntry = {
    node,
    explicit,
    effective: { ...inherited, ...effectiveOptions(values) },
    flags,
    readOnly: (flags & BDRV_O_RDWR) === 0,
    detectZeroes: values['detect-zeroes'],
    driverValues: driver.values,
    oldDriverValues: old.values,
    driverChanged: changed.length > 0,
    links,
  }
  return { entry, children: inline.map((child) => ({ ...child, keepOld: pending.keepOld, parent: entry })) }
}

/** Splits off what is said of children: options for inline ones, or another node to link to. */
function takeChildren(node: NodeState, given: FlatOptions, keepOld: boolean) {
  let own = given
  const links: ChildLink[] = []
  const inline: { node: NodeState; given: FlatOptions; role: ChildRole }[] = []
  const names = new Map<string, EdgeState | undefined>(node.children.map((edge) => [edge.name, edge]))
  if (node.driver.supportsBacking && !names.has('backing')) names.set('backing', undefined)
  for (const [name, edge] of names) {
    const split = splitChild(own, name)
    own = split.own
    const role = edge?.role ?? BDRV_CHILD_COW
    if (split.reference === null) {
      if (name !== 'backing')
        throw new BlockError('EINVAL', `child '${name}' cannot be taken away`, { node: node.nodeName, op: 'reopen' })
      if (edge !== undefined) links.push({ name, role, edge, to: undefined })
    } else if (split.reference !== undefined) {
      const to = node.graph.node(split.reference)
      if (to !== edge?.node) links.push({ name, role, edge, to })
    } else if (edge !== undefined && edge.node.inheritsFrom === node) {
      inline.push({ node: edge.node, given: split.child, role })
    } else if (Object.keys(split.child).length > 0) {
      throw new BlockError('EINVAL', `child '${name}' is a node of its own: reopen that`, {
        node: node.nodeName,
        op: 'reopen',
      })
    } else if (name === 'backing' && edge !== undefined && !keepOld) {
      throw new BlockError('EINVAL', "'backing' must be given, since the node has one", {
        node: node.nodeName,
        op: 'reopen',
      })
    }
  }
  return { own, links, inline }
}

function inheritFrom(explicit: FlatOptions, parent: ReopenEntry, role: ChildRole): FlatOptions {
  return inheritOptions(explicit, {
    parentKind: parent.node.driver.kind,
    parentFlags: parent.flags,
    parentOptions: parent.effective,
    role,
  })
}

/** A node reopened on its own still inherits from the node whose options made it. */
function inheritFromOwner(node: NodeState, explicit: FlatOptions): FlatOptions {
  const owner = node.inheritsFrom
  const edge = owner?.children.find((child) => child.node === node)
  if (owner === undefined || edge === undefined) return explicit
  return inheritOptions(explicit, {
    parentKind: owner.driver.kind,
    parentFlags: owner.openFlags,
    parentOptions: owner.options,
    role: edge.role,
  })
}

function fixedOptions(node: NodeState): FlatOptions {
  const fixed: Record<string, OptionScalar> = {}
  for (const key of ['driver', 'node-name', 'filename', 'force-share']) {
    const value = node.explicitOptions[key]
    if (value !== undefined) fixed[key] = value
  }
  return fixed
}

function refuseFixed(node: NodeState, own: FlatOptions): void {
  const refuse = (key: string) => {
    throw new BlockError('EINVAL', `option '${key}' cannot change`, { node: node.nodeName, op: 'reopen' })
  }
  if (own.driver !== undefined && own.driver !== node.driver.name) refuse('driver')
  if (own['node-name'] !== undefined && own['node-name'] !== node.nodeName) refuse('node-name')
}

/** What others rely on while the node is open. */
function refuseFixedValues(node: NodeState, values: GenericOptions): void {
  const refuse = (message: string) => {
    throw new BlockError('EINVAL', message, { node: node.nodeName, op: 'reopen' })
  }
  if (values['force-share'] !== (node.options['force-share'] === true)) refuse("option 'force-share' cannot change")
  if (values['read-only'] && !node.readOnly && node.state.copyOnRead > 0)
    refuse('it cannot become read-only while copy-on-read is on')
}

function driverPart(options: FlatOptions): FlatOptions {
  return Object.fromEntries(Object.entries(options).filter(([key]) => !Object.hasOwn(GENERIC_OPTIONS, key)))
}

function changedOptions(old: Record<string, unknown>, now: Record<string, unknown>): string[] {
  const names = new Set([...Object.keys(old), ...Object.keys(now)])
  return [...names].filter((name) => JSON.stringify(old[name]) !== JSON.stringify(now[name]))
}

function refuseUnchangeable(node: NodeState, changed: readonly string[]): void {
  const mutable = node.definition.mutableOptions ?? []
  const fixed = changed.find(
    (name) =>
      node.definition.reopen === undefined ||
      !mutable.some((key) => name === key || (key.endsWith('.') && name.startsWith(key))),
  )
  if (fixed === undefined) return
  throw new BlockError('EINVAL', `driver '${node.driver.name}' cannot change the option '${fixed}' of an open node`, {
    node: node.nodeName,
    op: 'reopen',
  })
}
