// Modules of a kernel and what they need, from the modules.dep that belongs to it: each line names a module, then all it
// depends on, the ones to be loaded first last.

import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { basename, join } from 'node:path'

/** A module as the kernel takes it, uncompressed. */
export interface KernelModule {
  /** Name of its file, without what says how it was compressed. */
  name: string
  data: Uint8Array
}

const UNPACKERS: Readonly<Record<string, string>> = { '.xz': 'xz', '.zst': 'zstd', '.gz': 'gzip' }

/**
 * The modules `names` with all they depend on, in an order in which they can be loaded. What `folder` (that of one kernel
 * below /lib/modules) has no file of is taken to be built in.
 */
export function kernelModules(folder: string, names: readonly string[]): KernelModule[] {
  const needs = new Map<string, string[]>()
  for (const line of readFileSync(join(folder, 'modules.dep'), 'utf8').split('\n')) {
    const [path, dependencies] = line.split(':')
    if (path === undefined || dependencies === undefined) continue
    needs.set(moduleName(path), [path, ...dependencies.split(' ').filter((text) => text !== '')])
  }
  const paths = new Set<string>()
  for (const name of names) for (const path of [...(needs.get(name) ?? [])].reverse()) paths.add(path)
  return [...paths].map((path) => loadModule(join(folder, path)))
}

function moduleName(path: string): string {
  return basename(path)
    .replace(/\.ko(\.\w+)?$/, '')
    .replaceAll('-', '_')
}

function loadModule(path: string): KernelModule {
  const suffix = /\.ko(\.\w+)?$/.exec(path)?.[1] ?? ''
  const name = basename(path, suffix)
  const unpacker = UNPACKERS[suffix]
  if (unpacker === undefined) return { name, data: readFileSync(path) }
  const result = spawnSync(unpacker, ['-dc', path], { maxBuffer: 2 ** 26 })
  if (result.error !== undefined) throw result.error
  if (result.status !== 0) throw new Error(`${unpacker} -dc ${path}: ${result.stderr}`)
  return { name, data: result.stdout }
}
