// Runs every compiled example in a process of its own; an example that exits with an error fails the run. The demo is one
// of them where it exists (a folder with an index.js).

import { spawnSync } from 'node:child_process'
import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

/**
 * Arguments of examples that would take long without any; each list is a run.
 * @type {Record<string, string[][]>}
 */
const RUNS = {
  'ring-parallel.js': [
    ['--count', '200000', '--eventidx', '--indirect'],
    ['--count', '200000', '--eventidx', '--packed', '--in-order'],
    ['--count', '50000'],
  ],
}

const folder = fileURLToPath(new URL('../build/examples', import.meta.url))
let failed = 0
for (const path of examples()) {
  for (const args of RUNS[path] ?? [[]]) {
    const line = [path, ...args].join(' ')
    console.log(`== ${line}`)
    const command = [join(folder, path), ...args]
    const { status, signal } = spawnSync(process.execPath, command, { stdio: 'inherit', timeout: 120_000 })
    if (status === 0) continue
    failed++
    console.error(`example ${line} failed: ${signal ?? `exit code ${status}`}`)
  }
}
process.exitCode = failed === 0 ? 0 : 1

/** @returns {string[]} */
function examples() {
  const sources = fileURLToPath(new URL('../examples', import.meta.url))
  const entries = readdirSync(sources, { withFileTypes: true })
  const files = entries.filter((entry) => entry.isFile() && entry.name.endsWith('.ts'))
  const folders = entries.filter((entry) => entry.isDirectory() && existsSync(join(sources, entry.name, 'index.ts')))
  return [
    ...files.map((entry) => entry.name.replace(/\.ts$/, '.js')),
    ...folders.map((entry) => join(entry.name, 'index.js')),
  ].sort()
}
