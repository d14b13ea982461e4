// Packs the package as it would be published and checks the tarball: publint, attw, and that it holds what users need and
// nothing else. Run after a build. Leaves nothing behind.

import { spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('..', import.meta.url))
const folder = mkdtempSync(join(tmpdir(), 'blockgraph-pack-'))
try {
  process.exitCode = checkAll() ? 0 : 1
} finally {
  rmSync(folder, { recursive: true, force: true })
}

function checkAll() {
  if (!run('npm', ['pack', '--silent', '--pack-destination', folder])) return false
  const tarball = readdirSync(folder).find((name) => name.endsWith('.tgz'))
  if (tarball === undefined) throw new Error('npm pack made no tarball')
  const path = join(folder, tarball)
  const passed = [
    noStaleOutput(),
    run('npx', ['publint', 'run', path, '--strict']),
    // Only ESM is published; a CommonJS importer gets it through require(esm).
    run('npx', ['attw', path, '--profile', 'esm-only']),
    installs(path),
  ]
  return passed.every(Boolean)
}

/** Every compiled file has a source: nothing of a file that was removed since is shipped. Each bundling empties its own folder. */
function noStaleOutput() {
  const stale = readdirSync(join(root, 'dist'), { recursive: true, encoding: 'utf8' })
    .filter((path) => path.endsWith('.js') && !path.startsWith('programs/'))
    .filter((path) => !existsSync(join(root, 'src', path.replace(/\.js$/, '.ts'))))
  for (const path of stale) console.error(`dist/${path} has no source: run npm run clean, then npm run build`)
  return stale.length === 0
}

/**
 * The tarball installs without running anything, and each of its entry points loads.
 *
 * @param {string} tarball
 */
function installs(tarball) {
  const project = mkdtempSync(join(tmpdir(), 'blockgraph-use-'))
  try {
    writeFileSync(join(project, 'package.json'), JSON.stringify({ name: 'consumer', private: true, type: 'module' }))
    const install = ['install', '--silent', '--ignore-scripts', '--no-audit', '--no-fund', tarball]
    if (!run('npm', install, project)) return false
    const load = "for (const name of ['blockgraph', 'blockgraph/node']) await import(name)"
    return run(process.execPath, ['--input-type=module', '-e', load], project) && runsPrograms(project)
  } finally {
    rmSync(project, { recursive: true, force: true })
  }
}

/**
 * Each program of the package in `project` starts, and opens an image, with no peer installed.
 *
 * @param {string} project
 */
function runsPrograms(project) {
  const program = (/** @type {string} */ name) => join(project, 'node_modules', '.bin', name)
  return (
    run(program('blockgraph-img'), ['create', '-f', 'qcow2', 'disk.qcow2', '1M'], project) &&
    run(program('blockgraph-io'), ['-c', 'write -P 7 4k 8k', 'disk.qcow2'], project) &&
    run(program('blockgraph-img'), ['convert', '-c', '-O', 'qcow2', 'disk.qcow2', 'copy.qcow2'], project) &&
    run(program('blockgraph-img'), ['compare', 'disk.qcow2', 'copy.qcow2'], project) &&
    run(program('blockgraph'), ['--help'], project)
  )
}

/**
 * @param {string} command
 * @param {string[]} args
 */
function run(command, args, cwd = root) {
  console.log(`-- ${command} ${args.join(' ')}`)
  const { status, error } = spawnSync(command, args, { cwd, stdio: ['ignore', 'inherit', 'inherit'] })
  if (error !== undefined) throw error
  return status === 0
}
