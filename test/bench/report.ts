// The results as a table for people, as Markdown for the documents, and as JSON for programs.

import type { Result, Target } from './result.js'

/** What a run was made with. */
export interface RunDescription {
  node: string
  peer: string
  cpus: number
  rounds: number
  pageCacheFileMiB: number
  /** Of the last minute, when the run began: what other programs took. */
  loadAverage: number
}

/** A table in columns. */
export function tableText(results: readonly Result[]): string {
  const rows = results.map((result) => [
    result.name,
    figureText(result.figure, result.unit),
    targetText(result.target, result.unit),
    result.verdict,
    detailText(result),
  ])
  const widths = [0, 1, 2, 3].map((column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)))
  const lines: string[] = []
  results.forEach((result, index) => {
    if (result.group !== results[index - 1]?.group) lines.push('', result.group)
    const row = rows[index] ?? []
    lines.push(`  ${row.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join('  ')}`.trimEnd())
  })
  return lines.join('\n')
}

/** The same for a document. */
export function tableMarkdown(results: readonly Result[]): string {
  const lines = ['| what | measured | target | | samples |', '| --- | --- | --- | --- | --- |']
  results.forEach((result, index) => {
    if (result.group !== results[index - 1]?.group) lines.push(`| **${result.group}** | | | | |`)
    const cells = [
      result.name,
      figureText(result.figure, result.unit),
      targetText(result.target, result.unit),
      result.verdict === 'shown' ? '' : result.verdict,
      detailText(result),
    ]
    lines.push(`| ${cells.join(' | ')} |`)
  })
  return `${lines.join('\n')}\n`
}

/** Everything, every sample included. */
export function resultsJson(description: RunDescription, results: readonly Result[]): string {
  return `${JSON.stringify({ ...description, results }, undefined, 2)}\n`
}

function figureText(figure: number, unit: string): string {
  if (Number.isNaN(figure)) return '-'
  if (unit === 'x') return `${figure.toFixed(2)}x`
  if (unit === '/s') return `${thousands(figure)}/s`
  return `${figure >= 100 ? thousands(figure) : figure.toFixed(2)} ${unit}`
}

function targetText(target: Target | undefined, unit: string): string {
  if (target === undefined) return ''
  const bound = 'atLeast' in target ? target.atLeast : target.below
  const text =
    unit === 'x' ? `${bound.toFixed(1)}x` : unit === '/s' ? `${thousands(bound)}/s` : `${thousands(bound)} ${unit}`
  return 'atLeast' in target ? `at least ${text}` : `below ${text}`
}

/** What the figure was made of: medians where two are compared, else the spread. */
function detailText({ ours, peer, unit, note }: Result): string {
  if (note !== undefined) return note
  if (ours === undefined) return ''
  if (peer !== undefined) {
    const best = figureText(ours.max / peer.max, 'x')
    return `${thousands(ours.median)}/s, ${thousands(peer.median)}/s; best of each ${best}`
  }
  return `${figureText(ours.min, unit)} to ${figureText(ours.max, unit)}`
}

function thousands(value: number): string {
  return Math.round(value).toLocaleString('en-US')
}
