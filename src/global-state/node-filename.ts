// The file name of a node: the exact name of its primary child where nothing else decides what is seen, else a
// `json:` name that says it all.

import { BDRV_CHILD_PRIMARY } from '../common/child-role.js'
import { filterOrCowChild } from '../io/block-node.js'
import type { EdgeState, NodeState } from './node-state.js'
import { readOptions } from './options/option-schema.js'
import { formatJsonFilename } from './options/option-text.js'
import type { FlatOptions, OptionScalar } from './options/options.js'

/** The file name of `node`: plain where possible, else `json:{...}`. */
export function nodeFilename(node: NodeState): string {
  return exactFilename(node) ?? formatJsonFilename(fullOptions(node))
}

/** The plain name that opens the same data, if there is one. */
export function exactFilename(node: NodeState): string | undefined {
  if (node.implicit) {
    const child = filterOrCowChild(node)?.node as NodeState | undefined
    return child === undefined ? undefined : exactFilename(child)
  }
  const { definition } = node
  if (definition.filename !== undefined) {
    const where = { driver: node.driver.name, node: node.nodeName }
    return definition.filename(readOptions(definition.options, ownDriverOptions(node), where).values)
  }
  const primary = primaryEdge(node)
  if (primary === undefined || node.driver.kind === 'filter' || strongOptions(node).length > 0) return undefined
  return exactFilename(primary.node)
}

/** The edge whose child holds what `node` shows. */
export function primaryEdge(node: NodeState): EdgeState | undefined {
  return node.children.find((edge) => (edge.role & BDRV_CHILD_PRIMARY) !== 0)
}

/** The folder in which names found inside the image of `node` are looked for; undefined where it has no plain name. */
export function nodeDirname(node: NodeState): string | undefined {
  const name = exactFilename(node)
  if (name === undefined) return undefined
  const slash = name.lastIndexOf('/')
  return slash < 0 ? '' : name.slice(0, slash + 1)
}

function strongOptions(node: NodeState): string[] {
  const strong = node.definition.strongOptions ?? []
  return Object.keys(node.explicitOptions).filter((key) =>
    strong.some((name) => key === name || (name.endsWith('.') && key.startsWith(name))),
  )
}

function ownDriverOptions(node: NodeState): FlatOptions {
  const own: Record<string, OptionScalar> = {}
  for (const [key, value] of Object.entries(node.options))
    if (Object.hasOwn(node.definition.options, key)) own[key] = value
  return own
}

/** The options that say what `node` shows: driver, strong options, and those of its children. */
function fullOptions(node: NodeState): FlatOptions {
  const result: Record<string, OptionScalar> = {}
  const pending = [{ node, prefix: '' }]
  for (let next = pending.pop(); next !== undefined; next = pending.pop()) {
    result[`${next.prefix}driver`] = next.node.driver.name
    for (const key of strongOptions(next.node)) {
      const value = next.node.explicitOptions[key]
      if (value !== undefined) result[`${next.prefix}${key}`] = value
    }
    for (const edge of next.node.children) pending.push({ node: edge.node, prefix: `${next.prefix}${edge.name}.` })
  }
  return result
}
