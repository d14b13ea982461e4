// Prints the closing line for several test runs: `node scripts/sum-tests.js COUNTS.json...`, in the order of the runs. A
// project that ran twice counts as in its last run, so that an interop test skipped at first is not counted again.

import { readFileSync } from 'node:fs'
import { testLine } from './counting-reporter.js'

/** @typedef {import('./counting-reporter.js').Counts} Counts */

/** @type {Map<string, Counts>} */
const projects = new Map()
for (const path of process.argv.slice(2)) {
  for (const [project, counts] of Object.entries(readCounts(path))) {
    const before = projects.get(project)
    projects.set(project, { ...counts, failed: Math.max(counts.failed, before?.failed ?? 0) })
  }
}
console.log(testLine(projects.values()))

/**
 * A run that ended before it could count is one failure.
 *
 * @param {string} path
 * @returns {Record<string, Counts>}
 */
function readCounts(path) {
  try {
    return JSON.parse(readFileSync(path, 'utf8'))
  } catch {
    return { [`no counts in ${path}`]: { passed: 0, failed: 1, skipped: 0 } }
  }
}
