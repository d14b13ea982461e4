// Files and functions stay readable: one concept per file, a function on a screen. Tables are exempt, by name.

import ts from 'typescript'
import { lineOf, type ParsedFile, type Violation, violation, walk } from './source-files.js'

export const MAX_FILE_LINES = 400
export const MAX_FUNCTION_LINES = 70

/** Files that are a table from end to end. */
export const TABLES: readonly string[] = []

/** Whether `file` is longer than a file may be. */
export function fileSizeViolations(file: ParsedFile): Violation[] {
  const lines = file.text.replace(/\n$/, '').split('\n').length
  if (lines <= MAX_FILE_LINES || TABLES.includes(file.path)) return []
  return [{ path: file.path, line: MAX_FILE_LINES + 1, message: `${lines} lines, the limit is ${MAX_FILE_LINES}` }]
}

/** The functions of `file` that are longer than a function may be, from their first line to their last. */
export function functionSizeViolations(file: ParsedFile): Violation[] {
  const found: Violation[] = []
  walk(file, (node) => {
    if (!ts.isFunctionLike(node) || !('body' in node) || node.body === undefined) return
    const lines = lineOf(file, node.getEnd()) - lineOf(file, node.getStart(file.ast)) + 1
    if (lines <= MAX_FUNCTION_LINES) return
    found.push(violation(file, node, `a function of ${lines} lines, the limit is ${MAX_FUNCTION_LINES}`))
  })
  return found
}
