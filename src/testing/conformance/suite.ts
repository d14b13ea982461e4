// What the conformance suite needs of a test framework and of a driver. Nothing here imports a framework: pass vitest's,
// mocha's or node:test's functions.

import type { HostServices } from '../../common/host-services.js'
import type { BlockDriver } from '../../global-state/driver.js'

/** The two functions of a test framework. */
export interface SuiteApi {
  describe(name: string, body: () => void): void
  it(name: string, body: () => Promise<void>): void
}

/** A node to be opened for one test. */
export interface DriverFixture {
  /** Drivers the graph must know for `options`. */
  drivers: Iterable<BlockDriver>
  /** Options of a node of the asked length that reads as zeroes (or as anything, where data is not kept). */
  options: Record<string, unknown>
  /** What the graph is given of the host; nothing by default. */
  services?: HostServices
  /** Secrets of the graph, by id. */
  secrets?: Readonly<Record<string, Uint8Array>>
  /** Frees what the fixture took of the host. Called after the graph is closed. */
  cleanup?(): Promise<void> | void
}

/** Makes the fixture of one test; `size` in bytes, a multiple of 64 KiB. */
export type FixtureFactory = (size: number) => Promise<DriverFixture> | DriverFixture

/** What a driver can do. Everything left out is taken as its default. */
export interface DriverSupports {
  /** Writing. Default true. */
  write?: boolean
  /** What is written reads back. Default true; false for null drivers. */
  keepsData?: boolean
  /** A new node reads as zeroes. Default true. */
  readsZeroes?: boolean
  /** Lengths that `truncate` can set; 'noise' for any, where what was grown has no promised content. Default 'any'. */
  truncate?: 'any' | 'noise' | 'none'
  /** After writeZeroes with MAY_UNMAP of a large aligned range, status says ZERO. Default false. */
  reportsZeroes?: boolean
  /** After a discard of a large aligned range, the range reads as zeroes. Default false. */
  discardZeroes?: boolean
  /** Runs of the random operations property. Default 30. */
  runs?: number
  /** Replays a failing run of it: the seed and path that were printed. */
  replay?: { seed: number; path?: string }
}

/** Fails a test where `condition` does not hold. */
export function check(condition: boolean, message: string): asserts condition {
  if (!condition) throw new Error(message)
}

/** Fails a test where the bytes differ, naming the first difference. */
export function checkSame(actual: Uint8Array, expected: Uint8Array, what: string): void {
  check(actual.byteLength === expected.byteLength, `${what}: ${actual.byteLength} bytes, not ${expected.byteLength}`)
  for (let at = 0; at < actual.byteLength; at++) {
    if (actual[at] !== expected[at]) check(false, `${what}: byte ${at} is ${actual[at]}, not ${expected[at]}`)
  }
}

/** Fails a test where a byte of `actual` is neither what it was nor zero, as a discard may leave it. */
export function checkOldOrZero(actual: Uint8Array, old: Uint8Array, what: string): void {
  for (let at = 0; at < actual.byteLength; at++) {
    if (actual[at] !== 0 && actual[at] !== old[at]) check(false, `${what}: byte ${at} is neither what it was nor zero`)
  }
}

/** A pattern that differs in every 512 bytes and for every `seed`. */
export function pattern(bytes: number, seed: number): Uint8Array {
  const data = new Uint8Array(bytes)
  for (let i = 0; i < bytes; i++) data[i] = ((seed * 31 + (i >>> 9) * 7 + i) % 255) + 1
  return data
}
