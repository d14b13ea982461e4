// User-mode Linux of Linux 6.1 does not run where processors have AMX; with a small library preloaded it does (the C file
// beside this one says why). The library is built where it is needed, by the host's C compiler.

import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { findProgram } from '../find-program.js'

/** Compiled tests run from build/support/guest, as deep as this folder lies. */
const SOURCE = fileURLToPath(new URL('../../../test/support/guest/uml-processor-state.c', import.meta.url))
/** Flags of /proc/cpuinfo for state behind what user-mode Linux keeps. */
const LARGE_STATE = /^flags\s*:.*\b(amx_tile|apx)\b/m

/** Why user-mode Linux cannot run on these processors; undefined where it can. */
export function umlStateMissing(): string | undefined {
  if (!isNeeded() || findProgram('cc') !== undefined) return undefined
  return 'user-mode Linux needs a C compiler on processors with AMX (Debian packages gcc and libc6-dev)'
}

/** The environment that user-mode Linux needs on these processors, besides its own; `folder` lasts as long as it runs. */
export function umlStateEnvironment(folder: string): Record<string, string> {
  if (!isNeeded()) return {}
  const library = join(folder, 'uml-processor-state.so')
  execFileSync(findProgram('cc') ?? 'cc', ['-O2', '-shared', '-fPIC', '-o', library, SOURCE])
  return { LD_PRELOAD: library }
}

function isNeeded(): boolean {
  return LARGE_STATE.test(readFileSync('/proc/cpuinfo', 'utf8'))
}
