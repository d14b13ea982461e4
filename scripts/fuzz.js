// npm run fuzz -- TARGET [--runs N] [--seed N]: more of what the tests try, from another seed. A failure names its seed.

import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { parseArgs } from 'node:util'

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { runs: { type: 'string', default: '200000' }, seed: { type: 'string' } },
})
const [target] = positionals
if (target === undefined || !/^[a-z0-9-]+$/.test(target) || !existsSync(`test/fuzz/${target}.test.ts`)) {
  console.error('usage: npm run fuzz -- TARGET [--runs N] [--seed N], with a TARGET of test/fuzz')
  process.exit(2)
}
const seed = values.seed ?? String(Date.now() % 2 ** 31)
console.log(`${target}: ${values.runs} runs, seed ${seed}`)
const { status } = spawnSync('npx', ['vitest', 'run', '--project', 'unit', `test/fuzz/${target}.test.ts`], {
  stdio: 'inherit',
  env: { ...process.env, BLOCKGRAPH_FUZZ_RUNS: values.runs, BLOCKGRAPH_FUZZ_SEED: seed },
})
process.exit(status ?? 1)
