// Two projects: `unit` is everything that needs nothing but Node, `interop` pairs us with other programs and skips, with
// a reason, where one is missing (BLOCKGRAPH_INTEROP=required turns that into a failure).

import { fileURLToPath } from 'node:url'
import { defineConfig } from 'vitest/config'
import { CountingReporter } from './scripts/counting-reporter.js'

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
    projects: [
      { extends: true, test: { name: 'unit', include: ['test/**/*.test.ts'], exclude: ['test/interop/**'] } },
      { extends: true, test: { name: 'interop', include: ['test/interop/**/*.test.ts'], testTimeout: 60_000 } },
    ],
  },
})
