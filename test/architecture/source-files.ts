// The sources as the architecture tests see them: parsed, not type-checked. A rule takes such a file, so that it can be
// shown a planted violation on a virtual one.

import { readdirSync, readFileSync } from 'node:fs'
import { join, posix, relative, sep } from 'node:path'
import { fileURLToPath } from 'node:url'
import ts from 'typescript'

/** One parsed file; `path` is relative to the repository, with forward slashes. */
export interface ParsedFile {
  path: string
  text: string
  ast: ts.SourceFile
}

/** A rule that was broken; `line` starts at 1. */
export interface Violation {
  path: string
  line: number
  message: string
}

export const root = fileURLToPath(new URL('../..', import.meta.url))

/** Parses `text` as if it stood at `path`. */
export function virtualFile(path: string, text: string): ParsedFile {
  return { path, text, ast: ts.createSourceFile(path, text, ts.ScriptTarget.ES2022, true) }
}

/** All TypeScript files under the folders given, declaration files included. */
export function filesUnder(...folders: string[]): ParsedFile[] {
  return folders.flatMap((folder) =>
    readdirSync(join(root, folder), { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile() && entry.name.endsWith('.ts'))
      .map((entry) => join(entry.parentPath, entry.name))
      .sort()
      .map((path) => virtualFile(relative(root, path).split(sep).join('/'), readFileSync(path, 'utf8'))),
  )
}

/** Calls `visit` with every node of the file. */
export function walk(file: ParsedFile, visit: (node: ts.Node) => void): void {
  const step = (node: ts.Node): void => {
    visit(node)
    ts.forEachChild(node, step)
  }
  step(file.ast)
}

/** What a rule says about `node`. */
export function violation(file: ParsedFile, node: ts.Node, message: string): Violation {
  return { path: file.path, line: lineOf(file, node.getStart(file.ast)), message }
}

/** The line of a position, from 1. */
export function lineOf(file: ParsedFile, position: number): number {
  return file.ast.getLineAndCharacterOfPosition(position).line + 1
}

/** The violations as people read them, one a line; compared with an empty list in tests, so that a failure shows all. */
export function report(violations: readonly Violation[]): string[] {
  return violations.map(({ path, line, message }) => `${path}:${line} ${message}`)
}

/** An import, `import type`, `export from`, `import()` or `import('...').T` of a file. */
export interface ImportEdge {
  node: ts.Node
  specifier: string
  /** Erased by the compiler: types only. */
  typeOnly: boolean
  dynamic: boolean
  /** Path of the file in this repository; undefined for a package or a module of the host. */
  target: string | undefined
}

/** Everything `file` imports, in order. */
export function importsOf(file: ParsedFile): ImportEdge[] {
  const edges: ImportEdge[] = []
  const add = (node: ts.Node, specifier: ts.Node | undefined, typeOnly: boolean, dynamic: boolean) => {
    if (specifier === undefined) return
    const text = ts.isStringLiteralLike(specifier) ? specifier.text : '(computed)'
    edges.push({ node, specifier: text, typeOnly, dynamic, target: resolveImport(file.path, text) })
  }
  walk(file, (node) => {
    if (ts.isImportDeclaration(node)) add(node, node.moduleSpecifier, node.importClause?.isTypeOnly === true, false)
    else if (ts.isExportDeclaration(node)) add(node, node.moduleSpecifier, node.isTypeOnly, false)
    else if (ts.isImportTypeNode(node)) add(node, literalOf(node.argument), true, false)
    else if (ts.isCallExpression(node) && node.expression.kind === ts.SyntaxKind.ImportKeyword) {
      add(node, node.arguments[0], false, true)
    }
  })
  return edges
}

function literalOf(argument: ts.TypeNode): ts.Node {
  return ts.isLiteralTypeNode(argument) ? argument.literal : argument
}

function resolveImport(from: string, specifier: string): string | undefined {
  if (!specifier.startsWith('.')) return undefined
  return posix.normalize(posix.join(posix.dirname(from), specifier)).replace(/\.js$/, '.ts')
}
