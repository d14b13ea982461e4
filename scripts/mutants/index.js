// Plants faults, one at a time, in a copy of the tree, and shows that the suite finds each: in graph and drain code, which the
// unit tests of both and the graph model look for, in virtqueues, and in the order of qcow2's writes, which the crash tests look
// for. Exits with 1 if a fault survives, with 2 if the script itself cannot work (a text that does not stand exactly once, a suite
// that fails without any fault). Arguments: words; only faults whose names, or the name of whose list, contain one of them are planted.

import { spawn } from 'node:child_process'
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { mutants as graphMutants } from './mutants.js'
import { mutants as orderMutants } from './qcow2-order.js'
import { mutants as vhostMutants } from './vhost-user.js'
import { mutants as queueMutants } from './virtqueues.js'

/**
 * @typedef {object} Suite
 * @property {string} name
 * @property {string[]} files
 * @property {string} testTimeout milliseconds
 * @property {Record<string, string>} env
 */

const root = fileURLToPath(new URL('../..', import.meta.url))
const COPIED = ['src', 'test', 'scripts', 'package.json', 'tsconfig.json', 'tsconfig.base.json', 'vitest.config.ts']
/** A fault may make a test hang; what takes longer than this is found as well. */
const LIMIT_MS = 600_000

/**
 * Faults, and the suites that have to find them, the quickest first.
 * @type {{ name: string, mutants: import('./mutants.js').Mutant[], suites: Suite[] }[]}
 */
const LISTS = [
  {
    name: 'graph',
    mutants: graphMutants,
    suites: [
      { name: 'tests', files: ['test/unit/global-state', 'test/unit/io'], testTimeout: '10000', env: {} },
      {
        name: 'model',
        files: ['test/property/graph-model.test.ts'],
        testTimeout: '10000',
        env: { BLOCKGRAPH_MODEL_SCALE: '0.25', BLOCKGRAPH_MODEL_SHRINK: 'off' },
      },
    ],
  },
  {
    name: 'virtqueues',
    mutants: queueMutants,
    suites: [
      {
        name: 'tests',
        files: [
          'test/unit/protocols/virtio',
          'test/unit/devices/virtio/queue',
          'test/unit/devices/virtio/driver-queue',
        ],
        testTimeout: '10000',
        env: {},
      },
      { name: 'both ends', files: ['test/property/virtio/queue-pairs.test.ts'], testTimeout: '20000', env: {} },
    ],
  },
  {
    name: 'qcow2 order',
    mutants: orderMutants,
    suites: [
      {
        name: 'crash tests',
        files: ['test/crash/qcow2.test.ts', 'test/crash/qcow2-faults.test.ts'],
        testTimeout: '200000',
        env: { BLOCKGRAPH_CRASH_SHRINK: 'off' },
      },
      { name: 'images in the making', files: ['test/crash/qcow2-create.test.ts'], testTimeout: '120000', env: {} },
    ],
  },
  {
    name: 'vhost-user',
    mutants: vhostMutants,
    suites: [
      {
        name: 'records',
        files: ['test/unit/exports/vhost-user/inflight-records.test.ts'],
        testTimeout: '20000',
        env: {},
      },
      {
        name: 'front-ends',
        files: ['hostile-messages', 'hostile-rings', 'dialogues', 'set-aside', 'dirty-log'].map(
          (name) => `test/unit/exports/vhost-user/${name}.test.ts`,
        ),
        testTimeout: '10000',
        env: {},
      },
    ],
  },
]

const words = process.argv.slice(2)
const chosen = LISTS.map((list) => ({
  ...list,
  mutants: list.mutants.filter(({ name }) => {
    return words.length === 0 || words.some((word) => name.includes(word) || list.name.includes(word))
  }),
})).filter(({ mutants }) => mutants.length > 0)
const folder = mkdtempSync(join(tmpdir(), 'blockgraph-mutants-'))
process.exitCode = 2
try {
  for (const path of COPIED) cpSync(join(root, path), join(folder, path), { recursive: true })
  symlinkSync(join(root, 'node_modules'), join(folder, 'node_modules'))
  for (const { mutants } of chosen) for (const mutant of mutants) plant(mutant)
  process.exitCode = await main()
} finally {
  rmSync(folder, { recursive: true, force: true })
}

/** @returns {Promise<number>} */
async function main() {
  const survivors = []
  let planted = 0
  for (const { name, mutants, suites } of chosen) {
    const clean = await findsFault(suites)
    if (clean !== undefined) {
      console.error(`${name}: the suite fails without any fault (${clean.by}):\n${clean.output}`)
      return 2
    }
    for (const mutant of mutants) {
      planted++
      if (!(await isFound(mutant, suites))) survivors.push(mutant)
    }
  }
  console.log(`${planted - survivors.length} of ${planted} planted faults were found`)
  for (const { name, file } of survivors) console.log(`not found: ${name} (${file})`)
  return survivors.length === 0 ? 0 : 1
}

/**
 * Plants a fault, runs the suites, takes it out again and prints what came of it.
 * @param {import('./mutants.js').Mutant} mutant
 * @param {Suite[]} suites
 */
async function isFound(mutant, suites) {
  const original = readFileSync(join(folder, mutant.file), 'utf8')
  writeFileSync(join(folder, mutant.file), plant(mutant))
  const began = performance.now()
  const found = await findsFault(suites)
  writeFileSync(join(folder, mutant.file), original)
  const seconds = ((performance.now() - began) / 1000).toFixed(1)
  const outcome = found === undefined ? 'SURVIVED' : `killed by ${found.by}`
  console.log(`${outcome.padEnd(24)} ${seconds.padStart(6)} s  ${mutant.name}`)
  return found !== undefined
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

/**
 * What failed, if anything did.
 * @param {Suite[]} suites
 */
async function findsFault(suites) {
  for (const suite of suites) {
    const { failed, late, output } = await run(suite)
    if (failed) return { by: late ? `${suite.name}, time limit` : suite.name, output }
  }
  return undefined
}

/**
 * @param {Suite} suite
 * @returns {Promise<{ failed: boolean, late: boolean, output: string }>}
 */
function run({ files, testTimeout, env }) {
  return new Promise((resolve, reject) => {
    const vitest = join(root, 'node_modules/vitest/vitest.mjs')
    const options = ['--project', 'unit', '--bail', '1', '--testTimeout', testTimeout, '--reporter', 'dot']
    // A group of its own, so that workers that hang end with it.
    const child = spawn(process.execPath, [vitest, 'run', ...options, ...files], {
      cwd: folder,
      env: { ...process.env, ...env },
      detached: true,
    })
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
      resolve({ failed: code !== 0, late, output: output.slice(-8000) })
    })
  })
}
