// Plants faults in graph and drain code, one at a time, in a copy of the tree, and shows that the suite finds each: first the
// unit tests of graph and drains, then, where they pass, the graph model. Exits with 1 if a fault survives, with 2 if the script
// itself cannot work (a text that does not stand exactly once, a suite that fails without any fault).
// Arguments: words; only faults whose names contain one of them are planted.

import { spawn } from 'node:child_process'
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { mutants } from './mutants.js'

const root = fileURLToPath(new URL('../..', import.meta.url))
const COPIED = ['src', 'test', 'scripts', 'package.json', 'tsconfig.json', 'tsconfig.base.json', 'vitest.config.ts']
const UNIT = ['test/unit/global-state', 'test/unit/io']
const MODEL = ['test/property/graph-model.test.ts']
/** A fault may make a test hang; what takes longer than this is found as well. */
const LIMIT_MS = 120_000

const words = process.argv.slice(2)
const chosen = mutants.filter(({ name }) => words.length === 0 || words.some((word) => name.includes(word)))
const folder = mkdtempSync(join(tmpdir(), 'blockgraph-mutants-'))
process.exitCode = 2
try {
  for (const path of COPIED) cpSync(join(root, path), join(folder, path), { recursive: true })
  symlinkSync(join(root, 'node_modules'), join(folder, 'node_modules'))
  for (const mutant of mutants) plant(mutant)
  process.exitCode = await main()
} finally {
  rmSync(folder, { recursive: true, force: true })
}

/** @returns {Promise<number>} */
async function main() {
  const clean = await findsFault()
  if (clean !== undefined) {
    console.error(`the suite fails without any fault (${clean.by}):\n${clean.output}`)
    return 2
  }
  const survivors = []
  for (const mutant of chosen) {
    const original = readFileSync(join(folder, mutant.file), 'utf8')
    writeFileSync(join(folder, mutant.file), plant(mutant))
    const began = performance.now()
    const found = await findsFault()
    writeFileSync(join(folder, mutant.file), original)
    const seconds = ((performance.now() - began) / 1000).toFixed(1)
    console.log(
      `${found === undefined ? 'SURVIVED' : `killed by ${found.by}`.padEnd(24)} ${seconds.padStart(6)} s  ${mutant.name}`,
    )
    if (found === undefined) survivors.push(mutant)
  }
  console.log(`${chosen.length - survivors.length} of ${chosen.length} planted faults were found`)
  for (const { name, file } of survivors) console.log(`not found: ${name} (${file})`)
  return survivors.length === 0 ? 0 : 1
}

/**
 * The text of a file with the fault in it.
 * @param {import('./mutants.js').Mutant} mutant
 */
function plant({ name, file, find, replace }) {
  const text = readFileSync(join(folder, file), 'utf8')
  const count = text.split(find).length - 1
  if (count !== 1) throw new Error(`fault '${name}': its text stands ${count} times in ${file}, not once`)
  return text.replace(find, () => replace)
}

/** What failed, if anything did. */
async function findsFault() {
  const unit = await run(UNIT, '0')
  if (unit.failed) return { by: unit.why, output: unit.output }
  const model = await run(MODEL, '0.25')
  return model.failed
    ? { by: `model${model.why === 'tests' ? '' : `, ${model.why}`}`, output: model.output }
    : undefined
}

/**
 * @param {string[]} files
 * @param {string} scale
 * @returns {Promise<{ failed: boolean, why: string, output: string }>}
 */
function run(files, scale) {
  return new Promise((resolve, reject) => {
    const vitest = join(root, 'node_modules/vitest/vitest.mjs')
    const env = { ...process.env, BLOCKGRAPH_MODEL_SCALE: scale, BLOCKGRAPH_MODEL_SHRINK: 'off' }
    const args = [
      vitest,
      'run',
      '--project',
      'unit',
      '--bail',
      '1',
      '--testTimeout',
      '10000',
      '--reporter',
      'dot',
      ...files,
    ]
    // A group of its own, so that workers that hang end with it.
    const child = spawn(process.execPath, args, { cwd: folder, env, detached: true })
    let output = ''
    let late = false
    child.stdout.on('data', (data) => {
      output += data
    })
    child.stderr.on('data', (data) => {
      output += data
    })
    const timer = setTimeout(() => {
      late = true
      if (child.pid !== undefined) process.kill(-child.pid, 'SIGKILL')
    }, LIMIT_MS)
    child.on('error', reject)
    child.on('close', (code) => {
      clearTimeout(timer)
      resolve({ failed: code !== 0, why: late ? 'time limit' : 'tests', output: output.slice(-8000) })
    })
  })
}
