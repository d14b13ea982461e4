// docs/reference/api-parity.md cannot rot: every name it maps to exists where the page says, every name it maps to nothing
// has a reason, and every constant of the vocabulary is on it.

import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import ts from 'typescript'
import { describe, expect, it } from 'vitest'
import { filesUnder, root, virtualFile } from './source-files.js'

interface Row {
  line: number
  section: string
  names: string[]
  here: string
  note: string
}

const PAGE = 'docs/reference/api-parity.md'

function rowsOf(text: string): Row[] {
  const rows: Row[] = []
  let section = ''
  text.split('\n').forEach((line, index) => {
    if (line.startsWith('## ')) section = line.slice(3)
    if (!line.startsWith('| `')) return
    const [, names = '', here = '', note = ''] = line.split('|').map((cell) => cell.trim())
    rows.push({ line: index + 1, section, names: quoted(names), here, note })
  })
  return rows
}

function quoted(cell: string): string[] {
  return [...cell.matchAll(/`([^`]+)`/g)].map((match) => match[1] ?? '')
}

/** What a file exports, and the members of its exported types: `NodeIo`, `NodeIo.read`. */
function exportsOf(path: string, text: string): Set<string> {
  const names = new Set<string>()
  for (const statement of virtualFile(path, text).ast.statements) {
    const modifiers = ts.canHaveModifiers(statement) ? (ts.getModifiers(statement) ?? []) : []
    if (!modifiers.some(({ kind }) => kind === ts.SyntaxKind.ExportKeyword)) continue
    if (ts.isVariableStatement(statement)) {
      for (const { name } of statement.declarationList.declarations) names.add(name.getText())
    } else if (ts.isInterfaceDeclaration(statement) || ts.isClassDeclaration(statement)) {
      const own = statement.name?.text ?? ''
      names.add(own)
      for (const member of statement.members)
        if (member.name !== undefined) names.add(`${own}.${member.name.getText()}`)
    } else if (ts.isFunctionDeclaration(statement) || ts.isTypeAliasDeclaration(statement)) {
      names.add(statement.name?.text ?? '')
    }
  }
  return names
}

const cache = new Map<string, Set<string>>()

/** Why `target`, as in `src/io/read.ts#read`, leads nowhere; undefined where it leads to an export. */
function deadTarget(target: string): string | undefined {
  const [path = '', name = ''] = target.split('#')
  if (!path.startsWith('src/') || name === '') return `${target} is no file#export`
  let names = cache.get(path)
  if (names === undefined) {
    if (!existsSync(join(root, path))) return `${path} is not there`
    names = exportsOf(path, readFileSync(join(root, path), 'utf8'))
    cache.set(path, names)
  }
  return names.has(name) ? undefined : `${path} exports no ${name}`
}

describe('api-parity.md', () => {
  const rows = rowsOf(readFileSync(join(root, PAGE), 'utf8'))

  it('maps names to exports that exist', () => {
    const dead = rows.flatMap((row) =>
      row.here === 'none' ? [] : quoted(row.here).map((target) => ({ row, fault: deadTarget(target) })),
    )
    expect(
      dead.filter(({ fault }) => fault !== undefined).map(({ row, fault }) => `${PAGE}:${row.line} ${fault}`),
    ).toEqual([])
    const empty = rows.filter((row) => row.here !== 'none' && quoted(row.here).length === 0)
    expect(empty).toEqual([])
  })

  it('says why a name has no counterpart', () => {
    expect(rows.filter((row) => row.here === 'none' && row.note === '').map((row) => row.line)).toEqual([])
  })

  it('names everything once in its section', () => {
    const seen = new Set<string>()
    const doubles = rows
      .flatMap((row) => row.names.map((name) => `${row.section}: ${name}`))
      .filter((name) => seen.has(name) || !seen.add(name))
    expect(doubles).toEqual([])
  })

  it('covers every constant of the vocabulary', () => {
    const targets = new Set(rows.flatMap((row) => quoted(row.here)))
    const missing = filesUnder('src/common').flatMap((file) =>
      [...exportsOf(file.path, file.text)]
        .filter((name) => /^(BDRV_|BLK_PERM_|BLOCK_OPT_|DEFAULT_PERM_)/.test(name))
        .map((name) => `${file.path}#${name}`)
        .filter((target) => !targets.has(target)),
    )
    expect(missing).toEqual([])
  })

  it('is read as it is written', () => {
    const text =
      '## One\n| There | Here | Note |\n| --- | --- | --- |\n| `a`, `b` | `src/x.ts#Y.z` | why |\n| `c` | none | because |\n'
    expect(rowsOf(text)).toEqual([
      { line: 4, section: 'One', names: ['a', 'b'], here: '`src/x.ts#Y.z`', note: 'why' },
      { line: 5, section: 'One', names: ['c'], here: 'none', note: 'because' },
    ])
    const source =
      'export interface A { b(): void; readonly c?: number }\nexport const d = 1\nconst e = 2\nexport class F { get g() { return 1 } #h = 1 }'
    expect([...exportsOf('x.ts', source)]).toEqual(['A', 'A.b', 'A.c', 'd', 'F', 'F.g', 'F.#h'])
    expect([
      deadTarget('src/io/read.ts#read'),
      deadTarget('src/io/read.ts#reed'),
      deadTarget('src/no.ts#x'),
      deadTarget('read'),
    ]).toEqual([undefined, 'src/io/read.ts exports no reed', 'src/no.ts is not there', 'read is no file#export'])
  })
})
