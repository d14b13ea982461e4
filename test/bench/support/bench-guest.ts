// A guest that is the customer of several vhost-user-blk back-ends at once, each with a copy of the same image: fio runs in
// it, now on one disk, now on another.

import { closeSync, mkdtempSync, openSync, readSync, rmSync, writeSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { findProgram } from '../../support/find-program.js'
import { type BackendKind, BackendProcess } from '../../support/guest/backend-process.js'
import type { Guest } from '../../support/guest/guest.js'
import { writeInitramfs } from '../../support/guest/initramfs.js'
import { findUserModeLinux } from '../../support/guest/kernels.js'
import { bootUml } from '../../support/guest/uml-guest.js'
import { umlStateMissing } from '../../support/guest/uml-processor-state.js'

/** What fio does for one sample. */
export interface GuestLoad {
  rw: 'randread' | 'randwrite' | 'read' | 'write'
  bytes: number
  depth: number
  seconds: number
}

const MEMORY_MIB = 384

/** Why there can be no such guest; undefined where there can. */
export function benchGuestMissing(): string | undefined {
  if (findUserModeLinux() === undefined) return 'user-mode Linux is not installed (Debian: user-mode-linux)'
  for (const [name, where] of [
    ['busybox', 'busybox-static'],
    ['fio', 'fio'],
    ['qemu-storage-daemon', 'qemu-system-common'],
  ] as const) {
    if (findProgram(name) === undefined) return `${name} is not installed (Debian: ${where})`
  }
  return umlStateMissing()
}

/** A booted guest, its back-ends and their images. */
export class BenchGuest {
  /** Images lie where the page cache keeps them; sockets, whose names must be short, do not. */
  readonly #folder = mkdtempSync(join(tmpdir(), 'bench-guest-'))
  readonly #backends: BackendProcess[] = []
  #guest: Guest | undefined

  /** Boots a guest with a disk for each of `kinds`: vda, vdb, ... Each gets a copy of `image` in `folder`. */
  static async boot(kinds: readonly BackendKind[], image: string, folder: string): Promise<BenchGuest> {
    const bench = new BenchGuest()
    process.once('exit', () => bench.#endNow())
    for (const [index, kind] of kinds.entries()) {
      const copy = join(folder, `vhost-user-${index}.img`)
      copyInPages(image, copy)
      const socket = join(bench.#folder, String(index))
      bench.#backends.push(await BackendProcess.start(kind, { socket, image: copy, format: 'raw', queues: 1 }))
    }
    const kernel = findUserModeLinux()
    const [busybox, fio] = [findProgram('busybox'), findProgram('fio')]
    if (kernel === undefined || busybox === undefined || fio === undefined) throw new Error(benchGuestMissing())
    const initramfs = join(bench.#folder, 'initramfs.cpio')
    const modules = { folder: kernel.modules, names: ['virtio_blk'] }
    writeInitramfs(initramfs, { busybox, programs: [fio], modules })
    const devices = bench.#backends.map(({ socket }) => ({ socket, kind: 'blk' as const }))
    bench.#guest = await bootUml({ kernel, initramfs, devices, memoryMib: MEMORY_MIB })
    return bench
  }

  /** Requests per second of `load` on the disk with this index, by the guest's clock. */
  async rate(disk: number, load: GuestLoad): Promise<number> {
    if (this.#guest === undefined) throw new Error('the guest has not booted')
    const printed = await this.#guest.check(fioCommand(`vd${'abcdefgh'[disk]}`, load))
    const { jobs } = JSON.parse(printed.slice(printed.indexOf('{'))) as { jobs: FioJob[] }
    const [job] = jobs
    return job === undefined ? Number.NaN : job.read.iops + job.write.iops
  }

  /** Ends the guest and the back-ends. */
  async close(): Promise<void> {
    await this.#guest?.kill()
    for (const backend of this.#backends) await backend.kill()
    rmSync(this.#folder, { recursive: true, force: true })
  }

  /** For a process that ends and cannot wait. */
  #endNow(): void {
    this.#guest?.killNow()
    for (const { pid } of this.#backends) if (pid !== undefined) process.kill(pid, 'SIGKILL')
    rmSync(this.#folder, { recursive: true, force: true })
  }
}

/**
 * A copy that the page cache holds in pages: where it holds a file in large pieces, a small write costs so much there that
 * back-ends hardly differ.
 */
function copyInPages(from: string, to: string): void {
  const page = new Uint8Array(4096)
  const source = openSync(from, 'r')
  const target = openSync(to, 'w')
  for (let length = readSync(source, page); length > 0; length = readSync(source, page))
    writeSync(target, page, 0, length)
  closeSync(source)
  closeSync(target)
}

interface FioJob {
  read: { iops: number }
  write: { iops: number }
}

/** In batches where many are in flight: each system call costs this guest as much as a request costs a back-end. */
function fioCommand(disk: string, { rw, bytes, depth, seconds }: GuestLoad): string {
  const batch = Math.max(1, depth / 2)
  return [
    `fio --name=bench --filename=/dev/${disk} --rw=${rw} --bs=${bytes} --iodepth=${depth} --runtime=${seconds}`,
    '--ioengine=libaio --direct=1 --time_based --norandommap --gtod_reduce=1 --thread --output-format=json',
    `--iodepth_batch_submit=${batch} --iodepth_batch_complete_min=1 --iodepth_batch_complete_max=${depth}`,
  ].join(' ')
}
