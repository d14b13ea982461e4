// The documents as the tests see them: their links, the commands they name and the code they show.

import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'
import { root } from './source-files.js'

/** A Markdown file; `path` is relative to the repository. */
export interface Document {
  path: string
  text: string
}

/** A fenced block of TypeScript that claims to compile; `line` is that of its first line of code. */
export interface Snippet {
  path: string
  line: number
  code: string
}

/** README and its like, and everything under docs. */
export function documents(): Document[] {
  const top = readdirSync(root).filter((name) => name.endsWith('.md'))
  const docs = readdirSync(join(root, 'docs'), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.md'))
    .map((name) => join('docs', name))
  return [...top, ...docs].sort().map((path) => ({ path, text: readFileSync(join(root, path), 'utf8') }))
}

/** The links of `document` to files of this repository that are not there, and to headings that are not in them. */
export function brokenLinks(document: Document): string[] {
  const prose = document.text.replace(/^```[\s\S]*?^```/gm, '').replace(/`[^`\n]*`/g, '')
  return [...prose.matchAll(/\]\(([^)\s]+)\)/g)]
    .map((match) => match[1] ?? '')
    .filter((target) => !/^[a-z]+:/.test(target))
    .filter((target) => !linkHolds(document, target))
    .map((target) => `${document.path}: ${target}`)
}

function linkHolds(document: Document, target: string): boolean {
  const [file = '', heading] = target.split('#')
  const path = file === '' ? document.path : relative(root, join(root, dirname(document.path), file))
  if (path === document.path) return heading === undefined || headings(document.text).includes(heading)
  if (!existsSync(join(root, path))) return false
  return heading === undefined || headings(readFileSync(join(root, path), 'utf8')).includes(heading)
}

function headings(text: string): string[] {
  return [...text.matchAll(/^#+ (.+)$/gm)].map((match) =>
    (match[1] ?? '')
      .toLowerCase()
      .replace(/[^\p{L}\p{N}\s_-]/gu, '')
      .replaceAll(' ', '-'),
  )
}

/** The npm scripts a document tells its reader to run. */
export function namedScripts(document: Document): string[] {
  return [...document.text.matchAll(/npm run ([a-z][a-z:-]*)/g)].map((match) => match[1] ?? '')
}

/** The blocks marked `ts`; one marked otherwise (`ts sketch`) is not meant to stand on its own. */
export function snippets(document: Document): Snippet[] {
  return [...document.text.matchAll(/^```ts\n([\s\S]*?)^```/gm)].map((match) => ({
    path: document.path,
    line: document.text.slice(0, match.index).split('\n').length + 1,
    code: match[1] ?? '',
  }))
}
