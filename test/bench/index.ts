// npm run bench: all cases, a table, and build/bench/results.json. Options: --quick (3 rounds, shorter runs), --rounds=N,
// --only=TEXT (cases whose group has the text), --folder=PATH (where the file of the cached cases goes). Exit code 1 where
// a target is missed.

import { mkdtempSync, writeFileSync } from 'node:fs'
import { cpus, loadavg } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { aloneCases } from './cases/alone.js'
import { cachedFileCases } from './cases/cached-file.js'
import { commandCases } from './cases/commands.js'
import { runGraphScale } from './cases/graph-scale.js'
import { nullDriverCase } from './cases/null-driver.js'
import { qcow2Cases, qcow2Memory } from './cases/qcow2.js'
import { RING_PARALLEL, runRingParallel } from './cases/ring-parallel.js'
import { vhostUserCases } from './cases/vhost-user.js'
import { runMeasured } from './measured.js'
import { runPaired } from './paired.js'
import { type RunDescription, resultsJson, tableMarkdown, tableText } from './report.js'
import type { Result } from './result.js'
import { peerLacksIoUring, peerVersion } from './support/bench-tools.js'
import { repository } from './support/process.js'
import { makeTestFile, removeTestFile } from './support/test-file.js'

const FILE_MIB = 256
const OUTPUT = join(repository, 'build', 'bench')

const { values } = parseArgs({
  options: {
    quick: { type: 'boolean', default: false },
    rounds: { type: 'string' },
    only: { type: 'string', default: '' },
    folder: { type: 'string', default: OUTPUT },
  },
})
const rounds = Number(values.rounds ?? (values.quick ? 3 : 5))
const peer = await peerVersion()
const description: RunDescription = {
  node: process.version,
  peer: peer ?? 'qemu-img is not installed: nothing is compared with it',
  cpus: cpus().length,
  rounds,
  pageCacheFileMiB: FILE_MIB,
  loadAverage: loadavg()[0] ?? 0,
}
console.log(`Node ${description.node}, ${description.peer}, ${description.cpus} cores, ${rounds} rounds`)
if (description.loadAverage > 0.5) {
  console.log(
    `The machine is not quiet (load ${description.loadAverage.toFixed(1)}): who uses two threads suffers most.`,
  )
}

const folder = mkdtempSync(join(values.folder, 'data-'))
process.once('exit', () => removeTestFile(folder))
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(130))
const results: Result[] = []
const { groups, close } = await allCases()
for (const { group, run } of groups) {
  if (!group.includes(values.only)) continue
  process.stderr.write(`${group} ...\n`)
  results.push(...(await run()))
}
await close()
console.log(tableText(results))
writeFileSync(join(OUTPUT, 'results.json'), resultsJson(description, results))
writeFileSync(join(OUTPUT, 'results.md'), tableMarkdown(results))
const missed = results.filter(({ verdict }) => verdict === 'missed').length
const skips = results.filter(({ verdict }) => verdict === 'skipped').length
console.log(`\n${results.filter(({ verdict }) => verdict === 'met').length} met, ${missed} missed, ${skips} skipped`)
console.log('every sample: build/bench/results.json')
process.exitCode = missed > 0 ? 1 : 0

async function allCases(): Promise<{ groups: { group: string; run(): Promise<Result[]> }[]; close(): Promise<void> }> {
  const file = makeTestFile(folder, 'bench.img', FILE_MIB)
  // What is written to is a file of its own: others are read, and images get their content.
  const writtenFile = makeTestFile(folder, 'written.img', FILE_MIB)
  const peerMissing = peer === undefined ? 'qemu-img is not installed (Debian: qemu-utils)' : undefined
  const ioUringMissing = peer === undefined ? undefined : await peerLacksIoUring(file)
  const nativeMissing = await lacksNative()
  const scale = values.quick ? 0.5 : 1
  const cached = { file, writtenFile, count: 300_000 * scale, peerMissing, ioUringMissing, nativeMissing }
  const format = { folder, source: file, count: 200_000 * scale, peerMissing, ioUringMissing, nativeMissing }
  const guest = vhostUserCases({ image: file, folder, seconds: 2 * scale, ioUringMissing, nativeMissing })
  const paired = [
    nullDriverCase(1_000_000 * scale, peerMissing),
    ...cachedFileCases(cached),
    ...qcow2Cases(format),
    ...guest.cases,
    ...(await commandCases({ folder, source: file, repeats: 10 * scale, peerMissing })),
  ]
  const groups = [
    ...paired.map((one) => ({ group: one.group, run: () => runPaired(one, rounds) })),
    ...[...aloneCases, qcow2Memory].map((one) => ({ group: one.group, run: () => runMeasured(one, rounds) })),
    { group: RING_PARALLEL, run: () => runRingParallel(rounds, scale) },
    { group: 'graph edits and drains', run: () => runGraphScale(Math.min(rounds, 3)) },
  ]
  return { groups, close: guest.close }
}

async function lacksNative(): Promise<string | undefined> {
  try {
    await import('koffi')
    return undefined
  } catch {
    return 'koffi is not installed: no native calls'
  }
}
