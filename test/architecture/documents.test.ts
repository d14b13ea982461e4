import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { brokenLinks, documents, namedScripts, snippets } from './document-rules.js'
import { compileSnippets } from './snippet-compiler.js'
import { root } from './source-files.js'

const all = documents()

describe('the documents', () => {
  test('link to files and headings that are there', () => {
    expect(all.flatMap(brokenLinks)).toEqual([])
  })

  test('name npm scripts that are there', () => {
    const { scripts } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { scripts: object }
    expect(all.flatMap(namedScripts).filter((name) => !(name in scripts))).toEqual([])
  })

  test('show code that compiles against the built package', { timeout: 120_000 }, () => {
    expect(compileSnippets(all.flatMap(snippets))).toEqual([])
  })
})

describe('planted faults', () => {
  const broken = (text: string) => brokenLinks({ path: 'docs/x.md', text })

  test('a link to nothing', () => {
    expect(broken('see [a](nothing.md)')).toEqual(['docs/x.md: nothing.md'])
    expect(broken('see [a](../README.md), [b](https://example.org) and `[c](d)`')).toEqual([])
  })

  test('a link to no heading', () => {
    expect(broken('# One two\n[a](#one-two) [b](#three)')).toEqual(['docs/x.md: #three'])
  })

  test('code that does not compile', { timeout: 120_000 }, () => {
    const text = 'a\n\n```ts\nconst a: number = 1\nexport const b: string = a\n```\n\n```ts sketch\nnothing(\n```\n'
    const found = compileSnippets(snippets({ path: 'docs/x.md', text }))
    expect(found).toHaveLength(1)
    expect(found[0]).toMatch(/^docs\/x\.md:5 .*not assignable to type 'string'/)
  })
})
