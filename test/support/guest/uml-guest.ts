// A guest in user-mode Linux: a kernel that is a program of the host, so that it runs at native speed without help of the
// processor. Its virtio_uml driver is a vhost-user front-end of its own; it has one processor, hence one queue a disk.

import { spawn } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Guest } from './guest.js'
import type { GuestKernel } from './kernels.js'
import { umlStateEnvironment } from './uml-processor-state.js'

/** virtio 1.2, 5. This user-mode Linux has no driver of the others that can be served. */
const DEVICE_IDS = { blk: 2, scsi: 8 } as const

/** A device on a socket; block devices are disks vda, vdb, ... in their order. */
export interface UmlDevice {
  socket: string
  kind: keyof typeof DEVICE_IDS
}

/** The machine. */
export interface UmlMachine {
  kernel: GuestKernel
  initramfs: string
  devices: readonly UmlDevice[]
  memoryMib: number
}

/** Boots the machine and waits until its console reads commands. */
export async function bootUml(machine: UmlMachine): Promise<Guest> {
  const { kernel, initramfs, devices, memoryMib } = machine
  // Where it keeps the name and the control socket of each machine.
  const folder = mkdtempSync(join(tmpdir(), 'uml-'))
  const args = [
    ...[`mem=${memoryMib}M`, `initrd=${initramfs}`, 'init=/init', `uml_dir=${folder}`],
    ...['con=null', 'con0=fd:0,fd:1', 'quiet', 'loglevel=1'],
    ...devices.map(({ socket, kind }) => `virtio_uml.device=${socket}:${DEVICE_IDS[kind]}`),
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
