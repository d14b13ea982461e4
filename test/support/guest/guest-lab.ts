// One folder with images, the back-ends that serve them and the guests that use them: what a test file takes to work, and
// what is all gone when it closes the lab. Missing packages skip the test that asks, with a reason.

import { mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { missing, type PeerName, peer } from '../peers.js'
import {
  type BackendKind,
  BackendProcess,
  type BackendRequest,
  ourScsiBackend,
  type ScsiImage,
} from './backend-process.js'
import type { Guest } from './guest.js'
import { writeInitramfs } from './initramfs.js'
import { findStockKernel, findUserModeLinux, type GuestKernel } from './kernels.js'
import { awaitQemu, bootQemu, type QemuDevice, type QemuDisk, type QemuMachine } from './qemu-guest.js'
import { bootUml, type UmlDevice } from './uml-guest.js'
import { umlStateMissing } from './uml-processor-state.js'

/** An image to be served. */
export interface ServedImage {
  format: 'raw' | 'qcow2'
  bytes: number
  queues: number
  readOnly?: boolean
  serial?: string
  writeThrough?: boolean
}

const USUAL_PROGRAMS = ['mkfs.ext4', 'e2fsck', 'blkdiscard', 'fio'] as const
const QEMU_MEMORY_MIB = 448
const UML_MEMORY_MIB = 384
/** virtio_pci and virtio_blk are the way to the disk; ext4 takes its checksum by name, which no dependency tells. */
const STOCK_MODULES = ['virtio_pci', 'virtio_blk', 'virtio_scsi', 'sd_mod', 'virtio_rng', 'crc32c_generic', 'ext4']
const UML_MODULES = ['virtio_blk', 'virtio_scsi', 'sd_mod']

/** Images, back-ends and guests of one test file. */
export class GuestLab {
  /** Programs of this host that guests have besides the usual. */
  readonly #programs: readonly PeerName[]
  readonly folder = mkdtempSync(join(tmpdir(), 'guest-'))
  readonly #backends: BackendProcess[] = []
  readonly #guests: Guest[] = []
  readonly #archives = new Map<string, string>()

  constructor(programs: readonly PeerName[] = []) {
    this.#programs = programs
  }

  path(name: string): string {
    return join(this.folder, name)
  }

  /** Makes the image `name` and serves it on a socket beside it. */
  async serve(kind: BackendKind, name: string, image: ServedImage): Promise<BackendProcess> {
    const { format, bytes, ...more } = image
    const path = this.create(name, format, bytes)
    return this.serveExisting(kind, { socket: `${path}.sock`, image: path, format, ...more })
  }

  /** Makes the image `name`; its path. */
  create(name: string, format: 'raw' | 'qcow2', bytes: number): string {
    const path = this.path(name)
    if (format === 'raw') {
      writeFileSync(path, '')
      truncateSync(path, bytes)
    } else peer('qemu-img').check(['create', '-q', '-f', format, path, String(bytes)])
    return path
  }

  /** Serves images that are there as the logical units of one SCSI controller. */
  serveScsi(images: readonly ScsiImage[], queues: number): Promise<BackendProcess> {
    const [{ path, format }] = images as [ScsiImage]
    return this.serveExisting(ourScsiBackend(images), { socket: this.path('scsi.sock'), image: path, format, queues })
  }

  /** Serves an image that is there. */
  async serveExisting(kind: BackendKind, request: BackendRequest): Promise<BackendProcess> {
    const backend = await BackendProcess.start(kind, request)
    this.#backends.push(backend)
    return backend
  }

  /** A guest in QEMU with these disks, and other devices. */
  bootQemu(disks: readonly QemuDisk[], cpus: number, devices: readonly QemuDevice[] = []): Promise<Guest> {
    return this.#inQemu(bootQemu, { disks, devices, cpus })
  }

  /** The same, which can be moved: QEMU listens for commands on `monitor`. */
  bootMovable(disks: readonly QemuDisk[], cpus: number, monitor: string): Promise<Guest> {
    return this.#inQemu(bootQemu, { disks, cpus, monitor })
  }

  /** A QEMU that waits for such a guest. */
  awaitQemu(disks: readonly QemuDisk[], cpus: number, monitor: string): Promise<Guest> {
    return this.#inQemu(awaitQemu, { disks, cpus, monitor })
  }

  async #inQemu(
    start: typeof bootQemu,
    machine: Pick<QemuMachine, 'disks' | 'devices' | 'cpus' | 'monitor'>,
  ): Promise<Guest> {
    const { kernel } = needQemu()
    const initramfs = this.#initramfs(kernel, STOCK_MODULES)
    const guest = await start({ ...machine, kernel, initramfs, memoryMib: QEMU_MEMORY_MIB })
    this.#guests.push(guest)
    return guest
  }

  /** A guest in user-mode Linux with disks on these sockets. */
  bootUml(sockets: readonly string[]): Promise<Guest> {
    return this.bootUmlWith(sockets.map((socket) => ({ socket, kind: 'blk' })))
  }

  /** A guest in user-mode Linux with these devices. */
  async bootUmlWith(devices: readonly UmlDevice[]): Promise<Guest> {
    const { kernel } = needUml()
    const initramfs = this.#initramfs(kernel, UML_MODULES)
    const guest = await bootUml({ kernel, initramfs, devices, memoryMib: UML_MEMORY_MIB })
    this.#guests.push(guest)
    return guest
  }

  /** Ends whatever runs and removes the folder. */
  async close(): Promise<void> {
    for (const guest of this.#guests) await guest.kill()
    for (const backend of this.#backends) await backend.kill()
    rmSync(this.folder, { recursive: true, force: true })
  }

  #initramfs(kernel: GuestKernel, names: readonly string[]): string {
    const made = this.#archives.get(kernel.path)
    if (made !== undefined) return made
    const programs = ([...USUAL_PROGRAMS, ...this.#programs] as const).map((name) => peer(name).path)
    const path = this.path(`initramfs-${this.#archives.size}.cpio`)
    writeInitramfs(path, { busybox: peer('busybox').path, programs, modules: { folder: kernel.modules, names } })
    this.#archives.set(kernel.path, path)
    return path
  }
}

/** What a guest in QEMU needs; skips the test where something is not installed. */
export function needQemu(): { kernel: GuestKernel } {
  needPrograms()
  peer('qemu-system-x86_64')
  return {
    kernel: findStockKernel() ?? missing('no kernel with its modules is installed (Debian package linux-image-amd64)'),
  }
}

/** What a guest in user-mode Linux needs; skips the test where something is not installed. */
export function needUml(): { kernel: GuestKernel } {
  needPrograms()
  peer('linux.uml')
  const lacking = umlStateMissing()
  if (lacking !== undefined) missing(lacking)
  return { kernel: findUserModeLinux() ?? missing('user-mode Linux has no modules (Debian package user-mode-linux)') }
}

function needPrograms(): void {
  for (const name of [...USUAL_PROGRAMS, 'busybox', 'qemu-img'] as const) peer(name)
}
