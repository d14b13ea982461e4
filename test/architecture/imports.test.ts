import { describe, expect, test } from 'vitest'
import { importViolations, partOf, reachable, reExportViolations } from './import-rules.js'
import { filesUnder, report, virtualFile } from './source-files.js'

const sources = filesUnder('src')
const byPath = new Map(sources.map((file) => [file.path, file]))

describe('the import table', () => {
  test('holds for every file of src', () => {
    expect(report(sources.flatMap(importViolations))).toEqual([])
  })

  test('only re-exports in entry files', () => {
    const entries = sources.filter(({ path }) => /^src\/(index|node|testing\/index)\.ts$/.test(path))
    expect(report(entries.flatMap(reExportViolations))).toEqual([])
  })

  test.each(['src/index.ts', 'src/testing/index.ts'])('nothing behind %s needs Node', (entry) => {
    const needsHost = [...reachable(entry, byPath)].filter((path) =>
      ['drivers/file', 'platform', 'platform/open-disk.ts', 'exports', 'cli', 'node.ts'].includes(partOf(path) ?? ''),
    )
    expect(needsHost).toEqual([])
  })
})

describe('planted violations', () => {
  const planted: [string, string, string, RegExp][] = [
    [
      'a value',
      'src/io/read.ts',
      "import { BlockGraph } from '../global-state/graph.js'",
      /io imports src\/global-state/,
    ],
    ['a type', 'src/io/read.ts', "import type { MainLoop } from '../global-state/main-loop.js'", /io imports/],
    ['an import type node', 'src/io/read.ts', "let a: import('../global-state/main-loop.js').MainLoop", /io imports/],
    ['an import()', 'src/io/read.ts', "await import('../drivers/null.js')", /io imports src\/drivers/],
    ['a computed import()', 'src/io/read.ts', 'await import(name)', /\(computed\)/],
    ['a re-export', 'src/common/error.ts', "export * from '../io/node-io.js'", /common imports src\/io/],
    ['a neighbour', 'src/devices/virtio/queue.ts', "import '../../drivers/null.js'", /devices imports src\/drivers/],
    ['another neighbour', 'src/jobs/mirror.ts', "import '../devices/virtio/queue.js'", /jobs imports src\/devices/],
    [
      'a driver that is no filter',
      'src/jobs/mirror.ts',
      "import '../drivers/raw.js'",
      /jobs imports src\/drivers\/raw/,
    ],
    ['the graph', 'src/drivers/raw.ts', "import '../global-state/graph.js'", /only driver\.ts and option-schema\.ts/],
    ['a drain', 'src/drivers/raw.ts', "import { drained } from '../io/drained.js'", /never drains/],
    ['a drain in the file driver', 'src/drivers/file/x.ts', "import '../../io/drained.js'", /never drains/],
    ['the file driver', 'src/drivers/raw.ts', "import './file/index.js'", /drivers imports src\/drivers\/file/],
    ['the file driver in tests for users', 'src/testing/x.ts', "import '../drivers/file/index.js'", /testing imports/],
    [
      'a ring of the file driver',
      'src/drivers/file/x.ts',
      "import '../../platform/open-disk.js'",
      /drivers\/file imports/,
    ],
    ['a host module', 'src/drivers/raw.ts', "import { open } from 'node:fs'", /universal/],
    ['a host module as a type', 'src/testing/x.ts', "import type { Stats } from 'node:fs'", /universal/],
    ['a host module by its old name', 'src/cli/x.ts', "import { open } from 'fs'", /not one of its packages/],
    ['a package', 'src/io/read.ts', "import PQueue from 'p-queue'", /not one of its packages/],
    ['itself by name', 'src/cli/x.ts', "import { read } from 'blockgraph'", /not one of its packages/],
    ['an optional peer at load', 'src/platform/node/native.ts', "import koffi from 'koffi'", /optional peer/],
    ['a test', 'src/testing/x.ts', "import '../../test/support/x.js'", /outside src/],
    ['an unknown folder', 'src/misc/x.ts', '', /no folder/],
  ]

  test.each(planted)('%s is found', (_name, path, text, message) => {
    const found = report(importViolations(virtualFile(path, text)))
    expect(found).toHaveLength(1)
    expect(found[0]).toMatch(message)
  })

  test('what the table allows passes', () => {
    const allowed: [string, string][] = [
      ['src/jobs/mirror.ts', "import '../drivers/filters/mirror-top.js'"],
      ['src/drivers/raw.ts', "import { defineDriver } from '../global-state/driver.js'"],
      ['src/drivers/file/index.ts', "import { open } from 'node:fs'"],
      ['src/platform/node/native.ts', "await import('koffi')"],
      ['src/io/stages/pad.ts', "import '../request-state.js'"],
    ]
    for (const [path, text] of allowed) expect(report(importViolations(virtualFile(path, text)))).toEqual([])
  })

  test('an entry file with code of its own is found', () => {
    expect(reExportViolations(virtualFile('src/index.ts', "export * from './a.js'\nexport const a = 1"))).toHaveLength(
      1,
    )
  })

  test('a host module behind an entry file is reached', () => {
    const files = [
      virtualFile('src/index.ts', "export * from './drivers/index.js'"),
      virtualFile('src/drivers/index.ts', "import './file/index.js'"),
      virtualFile('src/drivers/file/index.ts', ''),
    ]
    expect(reachable('src/index.ts', new Map(files.map((file) => [file.path, file])))).toContain(
      'src/drivers/file/index.ts',
    )
  })
})
