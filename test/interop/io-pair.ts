// Runs blockgraph-io and qemu-io with the same command line in two folders that hold the same files, and compares output,
// exit code and files. Only digits of times and rates, the tool's name and generated node names may differ.

import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect } from 'vitest'
import { main } from '../../src/cli/io/main.js'
import { type PeerRun, peer } from '../support/peers.js'
import { recordingHost } from '../unit/cli/io/recording-host.js'

/** One run of both tools. */
export interface IoCase {
  /** The command line, but for the commands. */
  args: readonly string[]
  /** Each given by `-c`. */
  commands?: readonly string[]
  /** Standard input. */
  input?: string
  /** How standard output is compared: `same` (default), or not at all where it is help. */
  out?: 'same' | 'any'
  /** How standard error is compared: `same` (default), or `until` the reason begins, which is the driver's. */
  err?: 'same' | 'until'
  /** Images whose content is compared, and not their bytes. */
  content?: readonly string[]
}

/** The name of a test. */
export function lineOf({ args, commands = [], input }: IoCase): string {
  const said = input === undefined ? '' : ` <<< ${JSON.stringify(input)}`
  return [...args, '|', commands.join('; ')].join(' ') + said
}

/** Two folders with the same files. */
export class IoPair {
  readonly ours: string
  readonly theirs: string
  readonly #fixtures: Readonly<Record<string, Uint8Array>>
  readonly #home = process.cwd()

  /** Makes both folders below `root`; `fixtures` are the files by name. */
  constructor(root: string, fixtures: Readonly<Record<string, Uint8Array>>) {
    this.#fixtures = fixtures
    this.ours = join(root, 'ours')
    this.theirs = join(root, 'theirs')
    for (const folder of [this.ours, this.theirs]) {
      mkdirSync(folder)
      this.#restore(folder)
    }
  }

  /** Runs both tools and expects the same of them; afterwards both folders are as before. */
  async compare(each: IoCase): Promise<void> {
    const args = [...(each.commands ?? []).flatMap((command) => ['-c', command]), ...each.args]
    const expected = peer('qemu-io').run(args, { cwd: this.theirs, input: each.input ?? '' })
    const actual = await this.#runOurs(args, each.input ?? '')
    const contents = (folder: string) => (each.content ?? []).map((name) => contentOf(folder, name))
    const [ourContents, theirContents] = [contents(this.ours), contents(this.theirs)]
    const [theirFiles, ourFiles] = [this.#restore(this.theirs), this.#restore(this.ours)]
    if (each.out !== 'any') expect(output(actual.stdout)).toBe(output(expected.stdout))
    expect(errors(each, actual.stderr)).toBe(errors(each, expected.stderr))
    expect(actual.status).toBe(expected.status)
    expect(ourContents).toEqual(theirContents)
    for (const name of each.content ?? []) for (const files of [ourFiles, theirFiles]) files.delete(name)
    expect(new Set(ourFiles.keys())).toEqual(new Set(theirFiles.keys()))
    for (const [name, bytes] of ourFiles) expect(sameBytes(bytes, theirFiles.get(name)), name).toBe(true)
  }

  async #runOurs(args: readonly string[], input: string): Promise<PeerRun> {
    const host = recordingHost('blockgraph-io', input)
    process.chdir(this.ours)
    try {
      const status = await main(args, host)
      return { status, stdout: host.stdout, stderr: host.stderr }
    } finally {
      process.chdir(this.#home)
    }
  }

  /** Puts the fixtures back where a run has changed them; gives what had changed. */
  #restore(folder: string): Map<string, Buffer> {
    const changed = new Map<string, Buffer>()
    const found = new Set(readdirSync(folder))
    for (const [name, content] of Object.entries(this.#fixtures)) {
      const now = found.delete(name) ? readFileSync(join(folder, name)) : undefined
      if (now?.equals(content) === true) continue
      writeFileSync(join(folder, name), content)
      if (now !== undefined) changed.set(name, now)
    }
    for (const name of found) {
      changed.set(name, readFileSync(join(folder, name)))
      rmSync(join(folder, name))
    }
    return changed
  }
}

/** Whether two files are the same, but for zeroes that only one of them has at its end in a format that needs none. */
function sameBytes(ours: Buffer, theirs: Buffer | undefined): boolean {
  if (theirs === undefined) return false
  const isFormat = ours.subarray(0, 4).equals(Buffer.from('QFI\xfb', 'latin1'))
  const shared = isFormat ? Math.min(ours.byteLength, theirs.byteLength) : theirs.byteLength
  const longer = ours.byteLength > theirs.byteLength ? ours : theirs
  return (
    ours.subarray(0, shared).equals(theirs.subarray(0, shared)) && longer.subarray(shared).every((byte) => byte === 0)
  )
}

/** What the image shows, as the field's tool reads it, and whether that tool finds it sound. */
function contentOf(folder: string, name: string): { bytes: string; check: number | undefined } {
  const raw = join(folder, 'content.raw')
  const img = peer('qemu-img')
  img.check(['convert', '-O', 'raw', name, raw], { cwd: folder })
  const bytes = readFileSync(raw, 'latin1')
  rmSync(raw)
  return { bytes, check: img.run(['check', '-q', name], { cwd: folder }).status }
}

const RATES =
  /; (\d\d\.\d\d sec|\d+:\d\d:\d\d\.\d\d) \(\d+(\.\d{3}|\.\d{6})? (bytes|[KMGTPE]iB)\/sec and \d+\.\d{4} ops\/sec\)/g
const MACHINE_RATES = /^(\d+,\d+),\d+:\d\d:\d\d\.\d\d,\d+\.\d{3},\d+\.\d{3}$/gm

function output(text: string): string {
  return renamed(text).replace(RATES, '; T (R/sec and N ops/sec)').replace(MACHINE_RATES, '$1,T,R,N')
}

function errors({ err }: IoCase, text: string): string {
  const said = renamed(text)
    .replaceAll(/#block\d+/g, '#block')
    .replace(/^\/.*\/blockgraph-io:/, 'blockgraph-io:')
    // Control characters are escaped.
    .replaceAll('\t', '\\x09')
  return err === 'until' ? said.replace(/(can't open[^:]*: ).*/, '$1') : said
}

/** What the real tool says, by our name. */
export function renamed(text: string): string {
  return text.replaceAll('qemu-io', 'blockgraph-io')
}
