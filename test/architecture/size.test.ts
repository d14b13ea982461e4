import { describe, expect, test } from 'vitest'
import { fileSizeViolations, functionSizeViolations, MAX_FILE_LINES, MAX_FUNCTION_LINES } from './size-rules.js'
import { filesUnder, report, virtualFile } from './source-files.js'

describe('size', () => {
  test('no file of src, examples or tests is longer than the limit', () => {
    expect(report(filesUnder('src', 'examples', 'test').flatMap(fileSizeViolations))).toEqual([])
  })

  test('no function of src or examples is longer than the limit', () => {
    expect(report(filesUnder('src', 'examples').flatMap(functionSizeViolations))).toEqual([])
  })
})

describe('planted violations', () => {
  const lines = (count: number) => Array.from({ length: count }, (_, index) => `f(${index})`).join('\n')

  test('a file one line too long is found, one that fits is not', () => {
    expect(fileSizeViolations(virtualFile('src/io/a.ts', lines(MAX_FILE_LINES)))).toEqual([])
    expect(fileSizeViolations(virtualFile('src/io/a.ts', `${lines(MAX_FILE_LINES)}\n`))).toEqual([])
    expect(fileSizeViolations(virtualFile('src/io/a.ts', lines(MAX_FILE_LINES + 1)))).toHaveLength(1)
  })

  test.each([
    ['function', (body: string) => `function long() {\n${body}\n}`],
    ['arrow', (body: string) => `const long = () => {\n${body}\n}`],
    ['method', (body: string) => `class A { long() {\n${body}\n} }`],
    ['method of an object', (body: string) => `const a = { long() {\n${body}\n} }`],
    ['constructor', (body: string) => `class A { constructor() {\n${body}\n} }`],
    ['getter', (body: string) => `class A { get long() {\n${body}\n} }`],
  ])('a %s one line too long is found, one that fits is not', (_name, wrap) => {
    const fits = virtualFile('src/io/a.ts', wrap(lines(MAX_FUNCTION_LINES - 2)))
    const long = virtualFile('src/io/a.ts', wrap(lines(MAX_FUNCTION_LINES - 1)))
    expect(functionSizeViolations(fits)).toEqual([])
    expect(functionSizeViolations(long)).toHaveLength(1)
  })
})
