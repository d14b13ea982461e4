// Pictures of a described graph, as text that Graphviz (DOT) or Mermaid draws. Names and file names come from outside:
// every label is escaped. What is drained stands out in red, what is in flight is counted.

import type { DriverKind } from '../common/child-role.js'
import type { PermissionName } from '../common/permissions.js'
import type { EdgeDescription, GraphDescription, NodeDescription, RootDescription } from './describe-graph.js'
import { formatSize } from './options/size-text.js'

/** One letter per permission in pictures. */
const LETTERS: Record<PermissionName, string> = {
  'consistent-read': 'r',
  write: 'w',
  'write-unchanged': 'u',
  resize: 's',
}

const DOT_STYLES: Record<DriverKind, string> = {
  format: 'shape=box, style=filled, color="#3f6a99", fillcolor="#e6effa"',
  protocol: 'shape=cylinder, style=filled, color="#4d8a3a", fillcolor="#e9f5e3"',
  filter: 'shape=box, style="rounded,filled,dashed", color="#a8842c", fillcolor="#fdf5da"',
}

// Graphviz knows its widths, and hosts that do not have it show DejaVu Sans, which is as wide: text fits its box wherever it
// is drawn. A list of fonts would be measured as Times.
const DOT_FONT = 'Verdana'
const DOT_ROOT = 'shape=box, style="rounded,filled", color="#7c4d93", fillcolor="#f3eaf8"'
const DOT_DRAINED = ', color="#c62828", penwidth=3'
const DOT_LEGEND = 'r read   w write<br/>u write unchanged   s resize'

const MERMAID_SHAPES: Record<DriverKind, readonly [string, string]> = {
  format: ['["', '"]'],
  protocol: ['[("', '")]'],
  filter: ['{{"', '"}}'],
}

/** The graph in the language of Graphviz. */
export function graphToDot(graph: GraphDescription): string {
  const lines = [
    'digraph blockgraph {',
    `  graph [rankdir=TB, pad=0.2, nodesep=0.4, ranksep=0.45, fontname="${DOT_FONT}"]`,
    `  node [fontname="${DOT_FONT}", fontsize=11, margin="0.15,0.08"]`,
    `  edge [fontname="${DOT_FONT}", fontsize=8, color="#555555", arrowsize=0.7]`,
    `  label=<<font point-size="8" color="#777777">${DOT_LEGEND}</font>>`,
  ]
  for (const root of graph.roots) lines.push(`  ${dotId(root.id)} [label=${dotLabel(rootLines(root))}, ${DOT_ROOT}]`)
  for (const node of graph.nodes) {
    const drained = node.quiesceCounter > 0 ? DOT_DRAINED : ''
    lines.push(`  ${dotId(node.id)} [label=${dotLabel(nodeLines(node))}, ${DOT_STYLES[node.kind]}${drained}]`)
  }
  for (const edge of graph.edges) {
    const quiesced = edge.quiesced ? ', color="#c62828"' : ''
    const frozen = edge.frozen ? ', style=bold, arrowhead=box' : ''
    const label = dotEdgeLabel(edgeLines(edge))
    lines.push(`  ${dotId(edge.from)} -> ${dotId(edge.to)} [label=${label}${quiesced}${frozen}]`)
  }
  return `${lines.join('\n')}\n}\n`
}

/** The graph as a Mermaid flowchart. */
export function graphToMermaid(graph: GraphDescription): string {
  const ids = new Map<string, string>()
  for (const { id } of [...graph.roots, ...graph.nodes]) ids.set(id, `n${ids.size}`)
  const idOf = (id: string) => ids.get(id) ?? 'unknown'
  const lines = ['flowchart TD']
  for (const root of graph.roots) lines.push(`  ${idOf(root.id)}("${mermaidText(rootLines(root))}")`)
  for (const node of graph.nodes) {
    const [open, close] = MERMAID_SHAPES[node.kind]
    lines.push(
      `  ${idOf(node.id)}${open}${mermaidText(nodeLines(node))}${close}:::${node.quiesceCounter > 0 ? 'drained' : node.kind}`,
    )
  }
  for (const edge of graph.edges) {
    lines.push(
      `  ${idOf(edge.from)} ${edge.frozen ? '==>' : '-->'}|"${mermaidText(edgeLines(edge))}"| ${idOf(edge.to)}`,
    )
  }
  lines.push('  classDef format fill:#dce9f7,stroke:#456', '  classDef protocol fill:#e3f3dc,stroke:#456')
  lines.push(
    '  classDef filter fill:#fdf3d0,stroke:#456,stroke-dasharray:4',
    '  classDef drained fill:#fff,stroke:#c62828,stroke-width:3px',
  )
  return `${lines.join('\n')}\n`
}

function rootLines(root: RootDescription): string[] {
  const lines = [root.name === '' ? 'backend' : root.name]
  if (root.inFlight > 0) lines.push(`${root.inFlight} in flight`)
  return lines
}

function nodeLines(node: NodeDescription): string[] {
  const lines = [node.name, `${node.driver}, ${formatSize(node.length)}`]
  if (node.filename !== null) lines.push(lastPart(node.filename))
  if (node.readOnly) lines.push('read-only')
  if (node.inactive) lines.push('inactive')
  for (const bitmap of node.bitmaps) {
    lines.push(`bitmap ${lastPart(bitmap.name ?? '')}: ${formatSize(bitmap.count)}${bitmap.recording ? '' : ', off'}`)
  }
  if (node.quiesceCounter > 0) lines.push(`drained ${node.quiesceCounter}x`)
  if (node.inFlight > 0) lines.push(`${node.inFlight} in flight`)
  return lines
}

function edgeLines(edge: EdgeDescription): string[] {
  const marks = `${edge.frozen ? ' frozen' : ''}${edge.quiesced ? ' quiesced' : ''}`
  return [edge.name + marks, `uses ${letters(edge.perm)}`, `shares ${letters(edge.shared)}`]
}

function letters(permissions: readonly PermissionName[]): string {
  return permissions.length === 0 ? '-' : permissions.map((name) => LETTERS[name]).join(' ')
}

/** The end of a long name says more than its beginning. */
function lastPart(name: string): string {
  return name.length > 40 ? `…${name.slice(-39)}` : name
}

function dotId(id: string): string {
  return `"${printable(id).replaceAll('\\', '\\\\').replaceAll('"', '\\"')}"`
}

/** The first line in bold, the others smaller and paler. */
function dotLabel(lines: readonly string[]): string {
  return `<${dotLines(lines)}>`
}

/** As a table of one cell, to stand left-aligned and clear of the edge. */
function dotEdgeLabel(lines: readonly string[]): string {
  const cell = `<td align="left" balign="left">${dotLines(lines)}</td>`
  return `<<table border="0" cellspacing="0" cellpadding="3"><tr>${cell}</tr></table>>`
}

function dotLines([first = '', ...others]: readonly string[]): string {
  const small = others.map((line) => `<br/><font point-size="8" color="#444444">${dotText(line)}</font>`)
  return `<b>${dotText(first)}</b>${small.join('')}`
}

function dotText(line: string): string {
  // An empty pair of tags is an error in Graphviz.
  return (printable(line) || '-').replace(/[&<>"]/g, (char) => `&#${char.charCodeAt(0)};`)
}

function mermaidText(lines: readonly string[]): string {
  const escaped = lines.map((line) => printable(line).replace(/[#"<>&|`\\]/g, (char) => `#${char.charCodeAt(0)};`))
  return escaped.join('<br/>')
}

/** Control characters, lone halves of a pair and what XML knows no character for would end a line or the whole picture. */
function printable(text: string): string {
  let out = ''
  for (const char of text) {
    const point = char.codePointAt(0) ?? 0
    const bad =
      point < 0x20 ||
      (point >= 0x7f && point < 0xa0) ||
      (point >= 0xd800 && point < 0xe000) ||
      point === 0xfffe ||
      point === 0xffff
    out += bad ? '\ufffd' : char
  }
  return out
}
