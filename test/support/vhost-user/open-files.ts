// What a process has open: for tests that nothing is left behind.

import { readdirSync, readFileSync, readlinkSync } from 'node:fs'

/** What each open descriptor of this process leads to, in order. */
export function openFiles(): string[] {
  return readdirSync('/proc/self/fd')
    .flatMap((fd) => {
      try {
        return [readlinkSync(`/proc/self/fd/${fd}`).replace(/\d+/g, '#')]
      } catch {
        // That of the listing itself.
        return []
      }
    })
    .sort()
}

/** Memory of others that this process has mapped, in order. */
export function mappedMemory(): string[] {
  return readFileSync('/proc/self/maps', 'utf8')
    .split('\n')
    .flatMap((line) => /\/memfd:\S+/.exec(line)?.[0] ?? [])
    .sort()
}
