// Type-checks the code that documents show, as a user of the built package would write it.

import { join } from 'node:path'
import ts from 'typescript'
import type { Snippet } from './document-rules.js'
import { root } from './source-files.js'

const OPTIONS: ts.CompilerOptions = {
  target: ts.ScriptTarget.ES2022,
  lib: ['lib.es2022.d.ts'],
  module: ts.ModuleKind.NodeNext,
  moduleResolution: ts.ModuleResolutionKind.NodeNext,
  types: ['node'],
  strict: true,
  exactOptionalPropertyTypes: true,
  noUncheckedIndexedAccess: true,
  noEmit: true,
  skipLibCheck: true,
}

/** What is wrong with the snippets, by the document and line where it stands. */
export function compileSnippets(snippets: readonly Snippet[]): string[] {
  // The snippets are virtual files at the root, so that `blockgraph` is this package, found by its own name.
  const byPath = new Map(snippets.map((snippet, index) => [join(root, `snippet-${index}.ts`), snippet]))
  const host = ts.createCompilerHost(OPTIONS)
  const { fileExists, readFile, getSourceFile } = host
  host.fileExists = (path) => byPath.has(path) || fileExists(path)
  host.readFile = (path) => byPath.get(path)?.code ?? readFile(path)
  host.getSourceFile = (path, options, ...rest) => {
    const snippet = byPath.get(path)
    // `export {}` makes a module of a snippet without imports, so that two may use the same names.
    if (snippet === undefined) return getSourceFile(path, options, ...rest)
    // The options say that it is an ES module, by this package's type: packages of two kinds are resolved accordingly.
    return ts.createSourceFile(path, `${snippet.code}\nexport {}\n`, options)
  }
  const program = ts.createProgram([...byPath.keys()], OPTIONS, host)
  return ts.getPreEmitDiagnostics(program).map((diagnostic) => describe(diagnostic, byPath))
}

function describe(diagnostic: ts.Diagnostic, byPath: ReadonlyMap<string, Snippet>): string {
  const message = ts.flattenDiagnosticMessageText(diagnostic.messageText, ' ')
  const { file } = diagnostic
  const snippet = file === undefined ? undefined : byPath.get(file.fileName)
  if (file === undefined || snippet === undefined) return message
  const { line } = file.getLineAndCharacterOfPosition(diagnostic.start ?? 0)
  return `${snippet.path}:${snippet.line + line} ${message}`
}
