// A command line given to blockgraph-img and to the real qemu-img alike, and how what they say is compared.

import { expect } from 'vitest'
import { main } from '../../src/cli/img/main.js'
import type { PeerRun } from './peers.js'

/** One command line for both tools. */
export interface ImgCase {
  args: readonly string[]
  /**
   * How standard error is compared. `same` (default): equal but for the tool's name. `until`: equal up to where the reason
   * begins, which is the driver's. `any`: both say something.
   */
  err?: 'same' | 'until' | 'any'
  /** `ends`: of a progress line only its first and last numbers are compared, the steps between depend on the time. */
  progress?: 'ends'
  /** `json`: standard output is compared as data, where the order of keys is nobody's promise. */
  out?: 'same' | 'json'
  /** Files whose content must be equal afterwards; allocation of ours at most that of theirs. */
  files?: readonly string[]
  /** Images that must show the same disk afterwards, and be sound. */
  images?: readonly string[]
}

/** Runs blockgraph-img in this process, in the folder `cwd`. */
export async function runOurs(args: readonly string[], cwd: string): Promise<PeerRun> {
  let stdout = ''
  let stderr = ''
  const home = process.cwd()
  process.chdir(cwd)
  const status = await main(args, {
    name: 'blockgraph-img',
    out: (text) => {
      stdout += text
    },
    err: (text) => {
      stderr += text
    },
  })
  process.chdir(home)
  return { status, stdout, stderr }
}

/** Standard output is the same. */
export function compareOutput(each: ImgCase, ours: string, theirs: string): void {
  if (each.out === 'json') expect(normalJson(ours)).toEqual(normalJson(theirs))
  else if (each.progress === 'ends') expect(progressEnds(ours)).toBe(progressEnds(theirs))
  else expect(withoutTimes(ours)).toBe(withoutTimes(theirs))
}

/** Parsed, and a `json:` file name inside parsed too. */
function normalJson(text: string): unknown {
  return JSON.parse(text, (_key, value: unknown) =>
    typeof value === 'string' && value.startsWith('json:') ? JSON.parse(value.slice(5)) : value,
  )
}

/** The first and the last step of a progress line. */
function progressEnds(text: string): string {
  return text.replace(/( {4}\([\d.]+\/100%\)\r)(?: {4}\([\d.]+\/100%\)\r)*( {4}\([\d.]+\/100%\)\r)/, '$1$2')
}

function withoutTimes(text: string): string {
  return text.replace(/completed in \d+\.\d{3} seconds/, 'completed in N seconds')
}

/** Standard error is the same but for the tool's name, as far as the case asks. */
export function compareErrors(each: ImgCase, ours: string, theirs: string): void {
  const expected = theirs.replaceAll('qemu-img', 'blockgraph-img')
  if (each.err === 'any') expect(ours === '').toBe(theirs === '')
  else if (each.err === 'until') expect(withoutReason(ours)).toBe(withoutReason(expected))
  // Some of their hints do not end their line.
  else expect(withoutHolders(ours).trimEnd()).toBe(expected.trimEnd())
}

/** "tool: Could not open 'name'" */
function withoutReason(text: string): string {
  const found = /^[^\n]*?: Could not open '[^']*'/.exec(text)
  return found === null ? `no such error: ${text}` : found[0]
}

/** We also say who holds a lock. */
function withoutHolders(text: string): string {
  return text.replace(/(Is another process using the image \[.*\]\?).*/, '$1')
}
