import { spawnSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { beforeAll, describe, expect, test } from 'vitest'
import { root } from './source-files.js'

interface Manifest {
  bin: Record<string, string>
  exports: Record<string, string | Record<string, string>>
  scripts: Record<string, string>
  dependencies: Record<string, string>
  devDependencies: Record<string, string>
}

const manifest = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as Manifest

/** What users get besides what npm always packs. */
const SHIPPED =
  /^(dist\/.+\.(js|d\.ts|js\.map)|dist\/programs\/LICENCES\.txt|bin\/[a-z-]+\.js|docs\/.+\.(md|svg)|(README|CHANGELOG)\.md|LICENSE|package\.json)$/

function strangers(paths: readonly string[]): string[] {
  return paths.filter((path) => !SHIPPED.test(path))
}

describe('the package', () => {
  let packed: string[] = []

  beforeAll(() => {
    const npm = spawnSync('npm', ['pack', '--dry-run', '--json', '--ignore-scripts'], { cwd: root, encoding: 'utf8' })
    const [tarball] = JSON.parse(npm.stdout) as [{ files: { path: string }[] }]
    packed = tarball.files.map(({ path }) => path)
  })

  test('holds nothing but what users need', () => {
    expect(strangers(packed)).toEqual([])
  })

  test('holds its documents, entry points and programs', () => {
    const entries = Object.values(manifest.exports).flatMap((entry) =>
      typeof entry === 'string' ? [entry] : Object.values(entry),
    )
    const needed = [...entries, ...Object.values(manifest.bin)].map((path) => path.replace(/^\.\//, ''))
    for (const path of ['README.md', 'CHANGELOG.md', 'LICENSE', ...needed]) expect(packed).toContain(path)
  })

  test('a source, test or build record in it would be found', () => {
    const planted = ['src/index.ts', 'test/unit/a.test.ts', 'dist/.universal.tsbuildinfo', 'scripts/clean.js', '.npmrc']
    expect(strangers([...planted, 'dist/index.js', 'dist/index.d.ts', 'bin/blockgraph-img.js'])).toEqual(planted)
  })
})

describe('the manifest', () => {
  test('pins every dependency to one version', () => {
    const versions = Object.entries({ ...manifest.dependencies, ...manifest.devDependencies })
    expect(versions.filter(([, version]) => !/^\d+\.\d+\.\d+$/.test(version))).toEqual([])
  })

  test('runs nothing at install', () => {
    const hooks = ['preinstall', 'install', 'postinstall', 'prepare', 'prepublish']
    expect(hooks.filter((name) => name in manifest.scripts)).toEqual([])
  })

  test('programs are launchers that node can run', () => {
    for (const path of Object.values(manifest.bin)) {
      expect(existsSync(join(root, path)), path).toBe(true)
      expect(readFileSync(join(root, path), 'utf8').startsWith('#!/usr/bin/env node\n')).toBe(true)
    }
  })
})
