// Programs of others that interop tests run beside us. Where one is missing the test skips and says which and why; with
// BLOCKGRAPH_INTEROP=required (CI) it fails instead.

import { spawnSync } from 'node:child_process'
import { TestRunner } from 'vitest'
import { findProgram } from './find-program.js'

/** The Debian package that brings each program. */
const PACKAGES = {
  'qemu-img': 'qemu-utils',
  'qemu-io': 'qemu-utils',
  'qemu-nbd': 'qemu-utils',
  'qemu-storage-daemon': 'qemu-system-common',
  'qemu-system-x86_64': 'qemu-system-x86',
  'linux.uml': 'user-mode-linux',
  busybox: 'busybox-static',
  fio: 'fio',
  'mkfs.ext4': 'e2fsprogs',
  e2fsck: 'e2fsprogs',
  blkdiscard: 'util-linux',
  perl: 'perl-base',
} as const

export type PeerName = keyof typeof PACKAGES

/** How a peer's run ended. */
export interface PeerRun {
  /** Exit code; undefined where a signal ended it. */
  status: number | undefined
  stdout: string
  stderr: string
}

/** A program that is present on this machine. */
export interface Peer {
  readonly name: PeerName
  readonly path: string
  /** Runs it to its end with `args`; throws only where it cannot be started or takes longer than a minute. */
  run(args: readonly string[], options?: { cwd?: string; input?: string | Uint8Array }): PeerRun
  /** As `run`, and throws with what it said unless it exits with 0. Returns its standard output. */
  check(args: readonly string[], options?: { cwd?: string; input?: string | Uint8Array }): string
}

/**
 * The program `name`, called inside a test. Where it is missing the test is skipped with a reason, or fails where interop
 * is required.
 */
export function peer(name: PeerName): Peer {
  const path = findProgram(name)
  return path === undefined
    ? missing(`${name} is not installed (Debian package ${PACKAGES[name]})`)
    : makePeer(name, path)
}

/** Skips the test, or fails where interop is required, for `reason`. */
export function missing(reason: string): never {
  const test = TestRunner.getCurrentTest()
  if (process.env.BLOCKGRAPH_INTEROP === 'required' || test === undefined) throw new Error(reason)
  return test.context.skip(reason)
}

function makePeer(name: PeerName, path: string): Peer {
  const run: Peer['run'] = (args, options = {}) => {
    const result = spawnSync(path, args, { ...options, encoding: 'utf8', timeout: 60_000, maxBuffer: 64 * 1024 * 1024 })
    if (result.error !== undefined) throw result.error
    return { status: result.status ?? undefined, stdout: result.stdout, stderr: result.stderr }
  }
  return {
    name,
    path,
    run,
    check(args, options) {
      const { status, stdout, stderr } = run(args, options)
      if (status !== 0) throw new Error(`${name} ${args.join(' ')}: exit code ${status ?? 'none'}\n${stderr}`)
      return stdout
    },
  }
}
