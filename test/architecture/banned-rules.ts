// What must not stand in src, as one rule per reason. A rule says where it applies and what it looks for in a syntax tree.

import ts from 'typescript'
import { partOf } from './import-rules.js'
import { lineOf, type ParsedFile, type Violation, violation, walk } from './source-files.js'

interface Rule {
  name: string
  applies(path: string): boolean
  /** What is wrong with `node`, if anything. */
  look(node: ts.Node): string | undefined
}

const everywhere = () => true
const partIs = (...parts: string[]) => {
  return (path: string) => parts.includes(partOf(path) ?? '')
}
const universal = partIs(
  'common',
  'io',
  'global-state',
  'protocols',
  'drivers',
  'devices',
  'jobs',
  'testing',
  'index.ts',
)

/** Names of the host that universal code cannot count on, or must be handed so that tests own them. */
const HOST_NAMES = new Set(['Buffer', 'process', 'console', '__dirname', '__filename'])
const CLOCK_NAMES = new Set(['setTimeout', 'setInterval', 'setImmediate', 'performance'])

/** The one file that turns the host's time into a `Clock`. */
const CLOCK_FILE = 'src/common/clock.ts'

const RULES: readonly Rule[] = [
  {
    // A fan-out that leaves early leaves writes behind in buffers that were handed back, and in drained sections.
    name: 'early-leaving fan-out',
    applies: partIs('io', 'drivers', 'drivers/file', 'jobs', 'devices', 'exports'),
    look: (node) => {
      const method = memberOf(node, 'Promise')
      return method !== undefined && ['all', 'race', 'any'].includes(method) ? `Promise.${method}` : undefined
    },
  },
  {
    // `background` is for promises that nobody waits for: it reports what they reject with.
    name: 'promise thrown away',
    applies: partIs('io', 'global-state', 'drivers', 'drivers/file', 'jobs', 'disk', 'devices', 'exports'),
    look: (node) => (ts.isVoidExpression(node) && ts.isCallExpression(node.expression) ? 'void' : undefined),
  },
  {
    // Where Symbol.dispose is missing, lowered `using` would begin and never end.
    name: 'using declaration',
    applies: everywhere,
    look: (node) =>
      ts.isVariableDeclarationList(node) && (node.flags & ts.NodeFlags.Using) === ts.NodeFlags.Using
        ? 'using'
        : undefined,
  },
  {
    name: 'what the compiler cannot erase',
    applies: everywhere,
    look: (node) => (ts.isEnumDeclaration(node) ? 'enum' : undefined),
  },
  {
    name: 'any',
    applies: everywhere,
    look: (node) => (node.kind === ts.SyntaxKind.AnyKeyword ? 'any' : undefined),
  },
  {
    name: 'host name in universal code',
    applies: universal,
    look: (node) => {
      const name = freeName(node)
      return name !== undefined && HOST_NAMES.has(name) ? name : undefined
    },
  },
  {
    name: 'time or chance that no test owns',
    applies: (path) => universal(path) && path !== CLOCK_FILE,
    look: (node) => {
      const name = freeName(node)
      if (name !== undefined && CLOCK_NAMES.has(name)) return name
      if (memberOf(node, 'Math') === 'random') return 'Math.random'
      if (memberOf(node, 'Date') === 'now') return 'Date.now'
      return ts.isNewExpression(node) && freeName(node.expression) === 'Date' ? 'new Date' : undefined
    },
  },
  {
    name: 'bigint on the request path',
    applies: partIs('io'),
    look: (node) =>
      ts.isBigIntLiteral(node) || freeName(node) === 'BigInt' || node.kind === ts.SyntaxKind.BigIntKeyword
        ? 'bigint'
        : undefined,
  },
]

const WORDS: readonly RegExp[] = [/\bTODO\b/, /\bFIXME\b/, /\bXXX\b/, /@ts-(ignore|nocheck|expect-error)/]

/** Everything banned that stands in `file`. */
export function bannedViolations(file: ParsedFile): Violation[] {
  const rules = RULES.filter((rule) => rule.applies(file.path))
  const found: Violation[] = []
  walk(file, (node) => {
    for (const rule of rules) {
      const what = rule.look(node)
      if (what !== undefined) found.push(violation(file, node, `${rule.name}: ${what}`))
    }
  })
  return [...found, ...wordViolations(file)]
}

function wordViolations(file: ParsedFile): Violation[] {
  return WORDS.flatMap((word) =>
    [...file.text.matchAll(new RegExp(word, 'g'))].map((match) => ({
      path: file.path,
      line: lineOf(file, match.index),
      message: `word: ${match[0]}`,
    })),
  )
}

/** `all` in `Promise.all`, where `object` is the name of a global. */
function memberOf(node: ts.Node, object: string): string | undefined {
  if (!ts.isPropertyAccessExpression(node)) return undefined
  return ts.isIdentifier(node.expression) && node.expression.text === object ? node.name.text : undefined
}

/** The name of an identifier used as a value on its own: no member, key, declaration or type. */
function freeName(node: ts.Node): string | undefined {
  if (!ts.isIdentifier(node)) return undefined
  const { parent } = node
  if (ts.isPropertyAccessExpression(parent) && parent.name === node) return undefined
  if (ts.isPropertyAssignment(parent) && parent.name === node) return undefined
  if (ts.isQualifiedName(parent) || ts.isTypeReferenceNode(parent)) return undefined
  const declares = parent as { name?: ts.Node; propertyName?: ts.Node }
  if (declares.name === node || declares.propertyName === node) {
    return ts.isShorthandPropertyAssignment(parent) ? node.text : undefined
  }
  return node.text
}
