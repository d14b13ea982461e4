// Names and comments: a file's name says its concept, its head says the concept's invariant, and what others may call has
// a docstring.

import ts from 'typescript'
import { type ParsedFile, type Violation, violation } from './source-files.js'

/** Names that say nothing of a concept. */
const EMPTY_NAMES = new Set(['utils', 'util', 'types', 'helpers', 'helper', 'misc', 'common', 'constants', 'shared'])

/** A head says concept, invariant and source, in one to five lines. */
const MAX_HEAD_LINES = 5

/** Whether the name of `file` says its concept. */
export function nameViolations(file: ParsedFile): Violation[] {
  const name = (file.path.split('/').at(-1) ?? '').replace(/(\.d|\.test)?\.ts$/, '')
  const wrong = (message: string) => [{ path: file.path, line: 1, message }]
  if (EMPTY_NAMES.has(name)) return wrong(`'${name}' names no concept`)
  if (!/^[a-z0-9]+(-[a-z0-9]+)*$/.test(name)) return wrong(`'${name}' is not kebab-case`)
  return []
}

/** Whether `file` begins with a comment of one to five lines. References and a launcher's first line may precede it. */
export function headViolations(file: ParsedFile): Violation[] {
  const lines = file.text.split('\n')
  let at = 0
  while (/^(#!|\/\/\/ <reference)/.test(lines[at] ?? '')) at++
  const begin = at
  while ((lines[at] ?? '').startsWith('//')) at++
  const written = lines.slice(begin, at).filter((line) => line !== '//').length
  const wrong = (message: string) => [{ path: file.path, line: begin + 1, message }]
  if (written === 0) return wrong('begins with no comment that says its concept')
  if (written > MAX_HEAD_LINES) return wrong(`a head of ${written} lines, the limit is ${MAX_HEAD_LINES}`)
  return []
}

/** The exported functions and classes of `file` that have no docstring. */
export function docstringViolations(file: ParsedFile): Violation[] {
  const documented = new Set<string>()
  const missing: { name: string; node: ts.Node }[] = []
  for (const statement of file.ast.statements) {
    if (!ts.isFunctionDeclaration(statement) && !ts.isClassDeclaration(statement)) continue
    const exported = statement.modifiers?.some(({ kind }) => kind === ts.SyntaxKind.ExportKeyword) === true
    if (!exported) continue
    const name = statement.name?.text ?? 'default'
    // Of an overloaded function one signature speaks for all.
    if (ts.getJSDocCommentsAndTags(statement).length > 0) documented.add(name)
    else missing.push({ name, node: statement })
  }
  return missing
    .filter(({ name }) => !documented.has(name))
    .map(({ name, node }) => violation(file, node, `exports ${name} without a docstring`))
}
