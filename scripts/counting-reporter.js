// A vitest reporter that counts tests by project, names what was skipped and why, and ends with one plain line. Where
// BLOCKGRAPH_TEST_COUNTS names a file, the counts go there instead of the line, for `.ci/run` to add up.

import { writeFileSync } from 'node:fs'

/**
 * @typedef {{ passed: number, failed: number, skipped: number }} Counts
 * @typedef {import('vitest/node').TestModule} TestModule
 * @typedef {import('vitest/reporters').Reporter} Reporter
 */

/** @implements {Reporter} */
export class CountingReporter {
  /**
   * @param {readonly TestModule[]} modules
   * @param {readonly unknown[]} unhandledErrors
   */
  onTestRunEnd(modules, unhandledErrors) {
    /** @type {Map<string, Counts>} */
    const projects = new Map()
    /** @type {Map<string, number>} */
    const reasons = new Map()
    for (const module of modules) {
      const counts = projects.get(module.project.name) ?? { passed: 0, failed: 0, skipped: 0 }
      projects.set(module.project.name, counts)
      countModule(module, counts, reasons)
    }
    // An error outside any test fails the run, so it is shown as a failure.
    if (unhandledErrors.length > 0)
      projects.set('outside tests', { passed: 0, failed: unhandledErrors.length, skipped: 0 })
    for (const [reason, count] of reasons) console.log(`skipped ${count}: ${reason}`)
    const file = process.env.BLOCKGRAPH_TEST_COUNTS
    if (file !== undefined && file !== '') writeFileSync(file, JSON.stringify(Object.fromEntries(projects)))
    else console.log(testLine(projects.values()))
  }
}

/**
 * @param {TestModule} module
 * @param {Counts} counts
 * @param {Map<string, number>} reasons
 */
function countModule(module, counts, reasons) {
  let broken = module.errors().length
  for (const suite of module.children.allSuites()) broken += suite.errors().length
  counts.failed += broken
  for (const test of module.children.allTests()) {
    const result = test.result()
    if (result.state === 'passed') counts.passed++
    else if (result.state === 'failed') counts.failed++
    else {
      counts.skipped++
      const reason =
        result.state === 'skipped' && result.note !== undefined
          ? result.note
          : `${module.relativeModuleId}, marked in the test`
      reasons.set(reason, (reasons.get(reason) ?? 0) + 1)
    }
  }
}

/**
 * The closing line of a run.
 *
 * @param {Iterable<Counts>} all
 */
export function testLine(all) {
  const total = { passed: 0, failed: 0, skipped: 0 }
  for (const counts of all) {
    total.passed += counts.passed
    total.failed += counts.failed
    total.skipped += counts.skipped
  }
  return `tests: ${total.passed} passed, ${total.failed} failed, ${total.skipped} skipped`
}
