// The file of the cached cases: written in full, so that it has no holes, synced, and read once, so that it is cached.

import { closeSync, fsyncSync, mkdirSync, openSync, readSync, rmSync, writeSync } from 'node:fs'
import { join } from 'node:path'

const CHUNK = 2 ** 20

/** The file `name` of `megabytes` MiB in `folder`, which is made. */
export function makeTestFile(folder: string, name: string, megabytes: number): string {
  mkdirSync(folder, { recursive: true })
  const path = join(folder, name)
  const fd = openSync(path, 'w+')
  const chunk = new Uint8Array(CHUNK)
  for (let i = 0; i < CHUNK; i++) chunk[i] = (i * 31 + (i >>> 8)) & 0xff
  for (let i = 0; i < megabytes; i++) writeSync(fd, chunk, 0, CHUNK, i * CHUNK)
  fsyncSync(fd)
  for (let i = 0; i < megabytes; i++) readSync(fd, chunk, 0, CHUNK, i * CHUNK)
  closeSync(fd)
  return path
}

/** Has the host write back what earlier rounds left in its cache, so that each write round begins alike. */
export function syncTestFile(path: string): void {
  const fd = openSync(path, 'r+')
  fsyncSync(fd)
  closeSync(fd)
}

/** Removes the folder and what is in it. */
export function removeTestFile(folder: string): void {
  rmSync(folder, { recursive: true, force: true })
}
