// Who may import whom. Folders import to the left, never to the right, never a neighbour; types count as much as values,
// since a type is what a forged token would be made of.

import ts from 'typescript'
import { type ImportEdge, importsOf, type ParsedFile, type Violation, violation } from './source-files.js'

/** What a part of src may import of src, and which packages; `node` allows the host's modules. */
interface Rule {
  parts: readonly string[]
  packages?: readonly string[]
  node?: true
}

const UNIVERSAL = ['common', 'io', 'global-state', 'protocols', 'drivers', 'devices'] as const

/**
 * Parts are folders of src, the file driver (the one driver that needs the host), and the entry files. A part may always
 * import itself. `drivers/filters` allows a part of a folder.
 */
export const RULES: Readonly<Record<string, Rule>> = {
  common: { parts: [] },
  io: { parts: ['common'] },
  'global-state': { parts: ['common', 'io'], packages: ['async-mutex'] },
  protocols: { parts: ['common'] },
  drivers: { parts: ['common', 'io', 'protocols', 'global-state'], packages: ['async-mutex'] },
  'drivers/file': {
    parts: ['common', 'io', 'protocols', 'global-state', 'platform'],
    packages: ['async-mutex'],
    node: true,
  },
  jobs: { parts: ['common', 'io', 'global-state', 'drivers/filters'], packages: ['p-queue'] },
  devices: { parts: ['common', 'io', 'global-state', 'protocols'] },
  exports: { parts: ['common', 'io', 'global-state', 'protocols', 'devices'], node: true },
  platform: { parts: [...UNIVERSAL, 'disk'], packages: ['koffi'], node: true },
  // Opens disks by name: it knows the file driver, which itself stands on the platform.
  'platform/open-disk.ts': { parts: [...UNIVERSAL, 'drivers/file', 'disk', 'platform'], node: true },
  // Puts a device, a socket and the native calls together.
  'platform/vhost-user': { parts: [...UNIVERSAL, 'exports', 'platform'], node: true },
  disk: { parts: ['common', 'io', 'global-state'] },
  testing: { parts: [...UNIVERSAL, 'jobs'], packages: ['fast-check'] },
  'index.ts': { parts: [...UNIVERSAL, 'jobs', 'disk'] },
  'node.ts': {
    parts: [
      ...UNIVERSAL,
      'drivers/file',
      'jobs',
      'disk',
      'exports',
      'platform',
      'platform/open-disk.ts',
      'platform/vhost-user',
      'index.ts',
    ],
    node: true,
  },
  cli: {
    parts: [
      ...UNIVERSAL,
      'drivers/file',
      'jobs',
      'disk',
      'exports',
      'platform',
      'platform/open-disk.ts',
      'platform/vhost-user',
      'index.ts',
      'node.ts',
    ],
    packages: ['commander', 'p-queue'],
    node: true,
  },
}

/** Of global state, drivers see only how a driver is declared. */
const DECLARATION_OF_DRIVERS = ['src/global-state/driver.ts', 'src/global-state/options/option-schema.ts']

/** Optional peers are loaded when they are asked for, never when a module is. */
const OPTIONAL_PEERS = ['koffi']

/** The part of src that `path` belongs to; undefined where the table knows none. */
export function partOf(path: string): string | undefined {
  const inside = path.replace(/^src\//, '')
  if (inside.startsWith('drivers/file/')) return 'drivers/file'
  if (inside === 'platform/open-disk.ts') return inside
  if (inside.startsWith('platform/vhost-user/')) return 'platform/vhost-user'
  const top = inside.split('/')[0] ?? ''
  return Object.hasOwn(RULES, top) ? top : undefined
}

/** The imports of `file` that the table forbids. */
export function importViolations(file: ParsedFile): Violation[] {
  const part = partOf(file.path)
  const rule = part === undefined ? undefined : RULES[part]
  if (part === undefined || rule === undefined) {
    return [{ path: file.path, line: 1, message: 'stands in no folder of the import table' }]
  }
  return importsOf(file).flatMap((edge) => {
    const fault = edge.target === undefined ? packageFault(part, rule, edge) : sourceFault(part, rule, edge.target)
    return fault === undefined ? [] : [violation(file, edge.node, fault)]
  })
}

function sourceFault(part: string, rule: Rule, target: string): string | undefined {
  const targetPart = partOf(target)
  if (targetPart === undefined) return `${part} imports ${target}, which is outside src`
  if (part.startsWith('drivers') && target === 'src/io/drained.ts') return "a driver's I/O half never drains"
  if (part.startsWith('drivers') && targetPart === 'global-state' && !DECLARATION_OF_DRIVERS.includes(target)) {
    return `${part} imports ${target}; of global state it may import only driver.ts and option-schema.ts`
  }
  if (targetPart === part) return undefined
  // The file driver is a driver: it shares what drivers share, but no other driver may need the host.
  if (part === 'drivers/file' && targetPart === 'drivers') return undefined
  const allowed = rule.parts.some(
    (name) => name === targetPart || (name.includes('/') && target.startsWith(`src/${name}/`)),
  )
  return allowed ? undefined : `${part} imports ${target}; it may import ${rule.parts.join(', ') || 'nothing'}`
}

function packageFault(part: string, rule: Rule, edge: ImportEdge): string | undefined {
  const { specifier } = edge
  if (specifier.startsWith('node:'))
    return rule.node === true ? undefined : `${part} imports ${specifier} but is universal`
  if (rule.packages?.includes(specifier) !== true)
    return `${part} imports ${specifier}, which is not one of its packages`
  if (OPTIONAL_PEERS.includes(specifier) && !edge.typeOnly && !edge.dynamic) {
    return `${specifier} is an optional peer: import() it where it is asked for`
  }
  return undefined
}

/** Files that only re-export: every statement is an import or an export of another file. */
export function reExportViolations(file: ParsedFile): Violation[] {
  return file.ast.statements
    .filter((statement) => !ts.isImportDeclaration(statement) && !ts.isExportDeclaration(statement))
    .map((statement) => violation(file, statement, 'an entry file only re-exports'))
}

/** The parts that must load in any host: nothing they reach may be a module of Node. */
export function reachable(entry: string, files: ReadonlyMap<string, ParsedFile>): Set<string> {
  const seen = new Set<string>()
  const open = [entry]
  for (let path = open.pop(); path !== undefined; path = open.pop()) {
    const file = files.get(path)
    if (file === undefined || seen.has(path)) continue
    seen.add(path)
    for (const { target } of importsOf(file)) if (target !== undefined) open.push(target)
  }
  return seen
}
