// The first and only root of a guest: a static busybox with a name for each applet, programs of this host with the
// libraries they load, the kernel's modules, and an init that obeys its console. Nothing in it is written to a disk.

import { spawnSync } from 'node:child_process'
import { closeSync, openSync, readFileSync, writevSync } from 'node:fs'
import { basename, dirname } from 'node:path'
import { type CpioEntry, cpioArchive, S_IFCHR, S_IFDIR, S_IFLNK, S_IFREG } from './cpio.js'
import { INIT_SCRIPT } from './init-script.js'
import { type KernelModule, kernelModules } from './kernel-modules.js'

/** What goes into an archive. */
export interface InitramfsContent {
  /** Path of a statically linked busybox. */
  busybox: string
  /** Paths of programs of the host. */
  programs: readonly string[]
  /** Folder of the kernel's modules, and which of them are loaded at start. */
  modules: { folder: string; names: readonly string[] }
}

/** Writes the archive to the file `path`. */
export function writeInitramfs(path: string, content: InitramfsContent): void {
  const fd = openSync(path, 'w')
  try {
    for (const piece of cpioArchive(initramfsEntries(content))) {
      for (let done = 0; done < piece.length; ) done += writevSync(fd, [piece.subarray(done)])
    }
  } finally {
    closeSync(fd)
  }
}

function initramfsEntries(content: InitramfsContent): CpioEntry[] {
  const tree = new Tree()
  for (const folder of ['dev', 'proc', 'sys', 'tmp', 'mnt', 'run', 'modules']) tree.folder(folder)
  // Before devtmpfs is mounted init needs something to talk to.
  tree.add({ name: 'dev/console', mode: S_IFCHR | 0o600, device: { major: 5, minor: 1 } })
  tree.add({ name: 'dev/null', mode: S_IFCHR | 0o666, device: { major: 1, minor: 3 } })
  tree.file('init', new TextEncoder().encode(INIT_SCRIPT))
  tree.file('bin/busybox', readFileSync(content.busybox))
  for (const applet of run(content.busybox, ['--list'])) tree.link(`bin/${applet}`, 'busybox')
  for (const program of content.programs) tree.file(`programs/${basename(program)}`, readFileSync(program))
  for (const library of new Set(content.programs.flatMap(librariesOf)))
    tree.file(library.slice(1), readFileSync(library))
  const modules: KernelModule[] = kernelModules(content.modules.folder, content.modules.names)
  for (const { name, data } of modules) tree.file(`modules/${name}`, data)
  tree.file('modules/order', new TextEncoder().encode(modules.map(({ name }) => `${name}\n`).join('')))
  return tree.entries
}

/** Entries by name; folders are made as they are needed, and the first of a name stays. */
class Tree {
  readonly entries: CpioEntry[] = []
  readonly #names = new Set<string>()

  add(entry: CpioEntry): void {
    if (this.#names.has(entry.name)) return
    const parent = dirname(entry.name)
    if (parent !== '.') this.folder(parent)
    this.#names.add(entry.name)
    this.entries.push(entry)
  }

  folder(name: string): void {
    this.add({ name, mode: S_IFDIR | 0o755 })
  }

  file(name: string, data: Uint8Array): void {
    this.add({ name, mode: S_IFREG | 0o755, data })
  }

  link(name: string, target: string): void {
    this.add({ name, mode: S_IFLNK | 0o777, data: new TextEncoder().encode(target) })
  }
}

/** Everything the loader maps for `program`, the loader itself included. */
function librariesOf(program: string): string[] {
  return run('ldd', [program]).flatMap((line) => /(?:=> )?(\/\S+) \(0x/.exec(line)?.[1] ?? [])
}

function run(program: string, args: readonly string[]): string[] {
  const result = spawnSync(program, args, { encoding: 'utf8' })
  if (result.error !== undefined) throw result.error
  if (result.status !== 0) throw new Error(`${program} ${args.join(' ')}: ${result.stderr}`)
  return result.stdout.split('\n').filter((line) => line !== '')
}
