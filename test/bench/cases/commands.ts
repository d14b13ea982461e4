// Whole commands, from the start of the process to its end: what a user waits for. Small ones are start-up time and little else.

import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Contestant, PairedCase } from '../paired.js'
import { repository, runProgram } from '../support/process.js'

/** What the cases need to know. */
export interface CommandSettings {
  /** For images. */
  folder: string
  /** A raw file that fills the image asked about; cached. */
  source: string
  /** Times a small command runs in a sample. */
  repeats: number
  peerMissing: string | undefined
}

const SMALL_BYTES = 64 * 1024
const OURS = 'blockgraph-img'
const PEER = 'qemu-img'
const LAUNCHER = join(repository, 'bin', 'blockgraph-img.js')

/** Each command of ours beside the peer's. Figures are commands per second. */
export async function commandCases(settings: CommandSettings): Promise<PairedCase[]> {
  const { folder, source, repeats, peerMissing } = settings
  const at = (name: string): string => join(folder, name)
  const [small, image, copy] = [at('small.img'), at('commands.qcow2'), at('commands-copy.qcow2')]
  writeFileSync(small, new Uint8Array(SMALL_BYTES).fill(1))
  await runOurs(['convert', '-O', 'qcow2', source, image])
  const pair = (name: string, args: readonly string[]): PairedCase => ({
    group: `whole commands: ${name}`,
    contestants: [
      { label: OURS, run: () => rateOf(repeats, () => runOurs(args)) },
      contestant(repeats, args, peerMissing),
    ],
    comparisons: [{ ours: OURS, peer: PEER }],
  })
  return [
    pair('info', ['info', image]),
    pair('check', ['check', '-q', image]),
    pair('map', ['map', '-f', 'qcow2', image]),
    pair('create', ['create', '-q', '-f', 'qcow2', copy, '1G']),
    pair('convert 64 KiB', ['convert', '-f', 'raw', '-O', 'qcow2', small, copy]),
  ]
}

function contestant(times: number, args: readonly string[], missing: string | undefined): Contestant {
  return { label: PEER, missing, run: () => rateOf(times, () => runProgram('qemu-img', args)) }
}

function runOurs(args: readonly string[]): Promise<string> {
  return runProgram(process.execPath, [LAUNCHER, ...args])
}

async function rateOf(times: number, run: () => Promise<string>): Promise<number> {
  const begin = performance.now()
  for (let done = 0; done < times; done++) await run()
  return (times * 1000) / (performance.now() - begin)
}
