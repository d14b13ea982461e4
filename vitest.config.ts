// Two projects: `unit` is everything that needs nothing but Node, `interop` pairs us with other programs and skips, with
// a reason, where one is missing. BLOCKGRAPH_INTEROP=required turns that into a failure; with BLOCKGRAPH_INTEROP=later the run
// leaves them to one that follows.

import { fileURLToPath } from 'node:url'
import { defineConfig, type TestProjectConfiguration } from 'vitest/config'
import { CountingReporter } from './scripts/counting-reporter.js'

const unit: TestProjectConfiguration = {
  extends: true,
  test: { name: 'unit', include: ['test/**/*.test.ts'], exclude: ['test/interop/**'] },
}
const interop: TestProjectConfiguration = {
  extends: true,
  test: { name: 'interop', include: ['test/interop/**/*.test.ts'], testTimeout: 60_000 },
}

const source = (path: string) => fileURLToPath(new URL(`./src/${path}`, import.meta.url))

export default defineConfig({
  resolve: {
    alias: [
      { find: /^blockgraph$/, replacement: source('index.ts') },
      { find: /^blockgraph\/node$/, replacement: source('node.ts') },
      { find: /^blockgraph\/testing$/, replacement: source('testing/index.ts') },
    ],
  },
  test: {
    // Processes, not threads: native calls and descriptors belong to a process.
    pool: 'forks',
    maxWorkers: 2,
    testTimeout: 30_000,
    hookTimeout: 30_000,
    reporters: ['default', new CountingReporter()],
    projects: process.env.BLOCKGRAPH_INTEROP === 'later' ? [unit] : [unit, interop],
  },
})
