// The kernels a guest can be booted with: a stock one for QEMU and user-mode Linux, each with the folder of its modules.

import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { findProgram } from '../find-program.js'

/** A kernel and its modules. */
export interface GuestKernel {
  /** Path of the image, or of the program. */
  path: string
  modules: string
}

/** The newest kernel of the distribution that has its modules; undefined where none is installed. */
export function findStockKernel(): GuestKernel | undefined {
  const kernels = installed('/lib/modules').map((version) => ({
    path: `/boot/vmlinuz-${version}`,
    modules: join('/lib/modules', version),
  }))
  return kernels.filter(({ path }) => existsSync(path)).at(-1)
}

/** User-mode Linux as the distribution has it; undefined where it is not installed. */
export function findUserModeLinux(): GuestKernel | undefined {
  const path = findProgram('linux.uml')
  const version = installed('/usr/lib/uml/modules').at(-1)
  if (path === undefined || version === undefined) return undefined
  return { path, modules: join('/usr/lib/uml/modules', version) }
}

/** Versions below `folder` that have an index of dependencies, the newest last. */
function installed(folder: string): string[] {
  if (!existsSync(folder)) return []
  return readdirSync(folder)
    .filter((version) => existsSync(join(folder, version, 'modules.dep')))
    .sort((a, b) => a.localeCompare(b, 'en', { numeric: true }))
}
