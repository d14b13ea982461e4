// What an edit should do: applied to a copy of the model, it says which error codes would be right. None: it has to succeed.

import type { ErrnoName } from '../../common/errno.js'
import type { GraphModel, ModelEdge } from './graph-model.js'
import { modelPermissions } from './model-permissions.js'

/** The graph as it would be, and every reason against it. */
export interface Outcome {
  after: GraphModel
  /** Codes of the reasons; empty where the edit is legal. */
  refusals: Set<ErrnoName>
}

/** Tries an edit on a copy of `model`. `edit` adds what it finds wrong by itself; permissions are looked at on the result. */
export function foresee(
  model: GraphModel,
  edit: (after: GraphModel, refuse: (code: ErrnoName) => void) => void,
): Outcome {
  const after = model.copy()
  const refusals = new Set<ErrnoName>()
  edit(after, (code) => refusals.add(code))
  if (refusals.size === 0 && modelPermissions(after).faults.length > 0) refusals.add('EPERM')
  return { after, refusals }
}

type Refuse = (code: ErrnoName) => void

/** Moves the movable parents of `from` to `to`. */
export function moveParents(model: GraphModel, from: string, to: string, refuse: Refuse): void {
  if (from === to) return
  const movable = model.parentsOf(from).filter(({ parent }) => !model.reaches(to, parent.name))
  for (const { edge } of movable) {
    if (edge.frozen) refuse('EPERM')
    edge.to = to
  }
  for (const backend of model.rootsOf(from)) backend.node = to
}

/** Adds a link; EINVAL where it would close a ring. */
export function link(model: GraphModel, parent: string, name: ModelEdge['name'], to: string, refuse: Refuse): void {
  if (model.reaches(to, parent)) {
    refuse('EINVAL')
    return
  }
  model.node(parent).children.push({ name, to, frozen: false })
}

/** Takes a link away; EPERM where it is frozen. */
export function unlink(model: GraphModel, parent: string, edge: ModelEdge, refuse: Refuse): void {
  if (edge.frozen) refuse('EPERM')
  const node = model.node(parent)
  node.children = node.children.filter((other) => other !== edge)
}

/** appendNode. */
export function foreseeAppend(model: GraphModel, overlay: string, top: string): Outcome {
  return foresee(model, (after, refuse) => {
    const node = after.node(overlay)
    if (node.driver !== 'overlay' || node.children.length > 0) return refuse('EINVAL')
    if (after.reaches(top, overlay)) return refuse('EINVAL')
    after.node(overlay).children.push({ name: 'backing', to: top, frozen: false })
    moveParents(after, top, overlay, refuse)
  })
}

/** dropFilter. */
export function foreseeDrop(model: GraphModel, filter: string): Outcome {
  return foresee(model, (after, refuse) => {
    const edge = after.chainEdge(filter)
    if (edge === undefined) return refuse('EINVAL')
    moveParents(after, filter, edge.to, refuse)
    unlink(after, filter, edge, refuse)
    after.node(filter).holds = 0
    after.release(filter)
    after.release(edge.to)
  })
}

/** replaceNode. */
export function foreseeReplace(model: GraphModel, from: string, to: string): Outcome {
  return foresee(model, (after, refuse) => {
    moveParents(after, from, to, refuse)
    after.release(from)
  })
}

/** setBacking. */
export function foreseeSetBacking(model: GraphModel, name: string, backing: string | undefined): Outcome {
  return foresee(model, (after, refuse) => {
    const node = after.node(name)
    const old = node.children.find((edge) => edge.name === 'backing')
    if (old?.to === backing) return
    if (node.driver !== 'overlay') return refuse('EINVAL')
    if (old !== undefined) unlink(after, name, old, refuse)
    if (backing !== undefined) link(after, name, 'backing', backing, refuse)
    if (old !== undefined) after.release(old.to)
  })
}

/** closeNode. */
export function foreseeClose(model: GraphModel, name: string): Outcome {
  return foresee(model, (after, refuse) => {
    const node = after.node(name)
    if (after.parentsOf(name).length + after.rootsOf(name).length > 0) return refuse('EBUSY')
    if (node.children.some((edge) => edge.frozen)) return refuse('EPERM')
    node.holds = Math.max(node.holds - 1, 0)
    after.release(name)
  })
}

/** reopenNodes with `read-only`, everything else kept. An inline child follows its owner unless it was told otherwise. */
export function foreseeReopen(model: GraphModel, names: readonly string[], readOnly: boolean): Outcome {
  return foresee(model, (after, refuse) => {
    const work = [...names]
    for (const name of names) after.node(name).explicitReadOnly = readOnly
    for (let name = work.shift(); name !== undefined; name = work.shift()) {
      const node = after.node(name)
      const owner = node.owner === undefined ? undefined : after.nodes.get(node.owner)
      const link = owner?.children.find((edge) => edge.to === name)
      // A backing file is read-only unless it was told otherwise.
      const inherited = link === undefined ? undefined : link.name === 'backing' || owner?.readOnly
      node.readOnly = node.explicitReadOnly ?? inherited ?? node.readOnly
      if (node.forceShare && !node.readOnly) refuse('EINVAL')
      for (const edge of node.children)
        if (after.node(edge.to).owner === name && !names.includes(edge.to)) work.push(edge.to)
    }
  })
}
