import { describe, expect, test } from 'vitest'
import { filesUnder, report, virtualFile } from './source-files.js'
import { docstringViolations, headViolations, nameViolations } from './vocabulary-rules.js'

const sources = filesUnder('src', 'examples')

describe('vocabulary', () => {
  test('every file is named after its concept', () => {
    expect(report([...sources, ...filesUnder('test', 'scripts')].flatMap(nameViolations))).toEqual([])
  })

  test('every file begins with what it is', () => {
    expect(report(sources.flatMap(headViolations))).toEqual([])
  })

  test('every exported function and class says what it does', () => {
    expect(report(sources.flatMap(docstringViolations))).toEqual([])
  })
})

describe('planted violations', () => {
  test.each(['src/io/utils.ts', 'src/io/types.ts', 'test/unit/helpers.ts', 'src/io/Read.ts', 'src/io/copy_range.ts'])(
    'the name %s',
    (path) => {
      expect(nameViolations(virtualFile(path, ''))).toHaveLength(1)
    },
  )

  test('names that say their concept pass', () => {
    for (const path of ['src/io/read.ts', 'test/unit/io/write-zeroes.test.ts', 'src/common/globals.d.ts']) {
      expect(nameViolations(virtualFile(path, ''))).toEqual([])
    }
  })

  test('a head that is missing, empty or too long', () => {
    const head = (text: string) => headViolations(virtualFile('src/io/a.ts', text)).length
    expect(head("import './b.js'\n// Late.")).toBe(1)
    expect(head('//\nexport {}')).toBe(1)
    expect(head('// A.\n'.repeat(6))).toBe(1)
    expect(head('// A.\n'.repeat(5))).toBe(0)
    expect(head('/// <reference lib="esnext.disposable" preserve="true" />\n// The public surface.\n')).toBe(0)
  })

  test('an export without a docstring', () => {
    const found = (text: string) => docstringViolations(virtualFile('src/io/a.ts', text)).length
    expect(found('export function f() {}')).toBe(1)
    expect(found('export class A {}')).toBe(1)
    expect(found('// Not a docstring.\nexport async function f() {}')).toBe(1)
    expect(found('/** Does. */\nexport function f() {}')).toBe(0)
    expect(found('/** Does. */\nexport function f(a: 1): void\nexport function f(a: 2): void')).toBe(0)
    expect(found('function f() {}')).toBe(0)
  })
})
