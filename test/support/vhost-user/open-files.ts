// What a process has open: for tests that nothing is left behind.

import { readdirSync, readlinkSync } from 'node:fs'

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
