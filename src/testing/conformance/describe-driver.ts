// The conformance suite of drivers: what every node promises, whatever its driver, checked through a real graph.
//
//   import { describe, it } from 'vitest'
//   describeDriver('memory', (size) => ({ drivers: builtinDrivers, options: { driver: 'memory', size } }), {}, { describe, it })

import { dataCases } from './data-cases.js'
import { lifeCases } from './life-cases.js'
import { randomCases } from './random-operations.js'
import { statusCases } from './status-cases.js'
import type { DriverSupports, FixtureFactory, SuiteApi } from './suite.js'

/**
 * Declares the suite for one driver. `factory` is asked for a fresh disk by every test; `supports` says what the driver
 * can do (a claim is checked both ways); `suite` holds the functions of a test framework.
 */
export function describeDriver(name: string, factory: FixtureFactory, supports: DriverSupports, suite: SuiteApi): void {
  suite.describe(`driver ${name}`, () => {
    dataCases(factory, supports, suite)
    statusCases(factory, supports, suite)
    lifeCases(factory, supports, suite)
    randomCases(factory, supports, suite)
  })
}
