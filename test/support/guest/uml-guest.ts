// A guest in user-mode Linux: a kernel that is a program of the host, so that it runs at native speed without help of the
// processor. Its virtio_uml driver is a vhost-user front-end of its own; it has one processor, hence one queue a disk.

import { spawn } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Guest } from './guest.js'
import type { GuestKernel } from './kernels.js'
import { umlStateEnvironment } from './uml-processor-state.js'

/** The machine. */
export interface UmlMachine {
  kernel: GuestKernel
  initramfs: string
  /** Of the disks; the first is vda. */
  sockets: readonly string[]
  memoryMib: number
}

/** virtio 1.2, 5: the number of a block device. */
const VIRTIO_ID_BLOCK = 2

/** Boots the machine and waits until its console reads commands. */
export async function bootUml(machine: UmlMachine): Promise<Guest> {
  const { kernel, initramfs, sockets, memoryMib } = machine
  // Where it keeps the name and the control socket of each machine.
  const folder = mkdtempSync(join(tmpdir(), 'uml-'))
  const args = [
    ...[`mem=${memoryMib}M`, `initrd=${initramfs}`, 'init=/init', `uml_dir=${folder}`],
    ...['con=null', 'con0=fd:0,fd:1', 'quiet', 'loglevel=1'],
    ...sockets.map((socket) => `virtio_uml.device=${socket}:${VIRTIO_ID_BLOCK}`),
  ]
  // Its memory is a file that it maps as code too, which a /tmp without exec forbids; it takes the first folder that fits.
  const child = spawn(kernel.path, args, {
    detached: true,
    stdio: ['pipe', 'pipe', 'pipe'],
    env: { ...process.env, ...umlStateEnvironment(folder) },
  })
  child.once('close', () => rmSync(folder, { recursive: true, force: true }))
  return Guest.boot(child)
}
