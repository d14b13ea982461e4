// A guest in QEMU: a stock kernel, the initramfs, and one vhost-user device on PCI for each socket. Its memory is a memfd,
// since back-ends map it. By KVM where that gets this kernel running, else by TCG.

import { spawn } from 'node:child_process'
import { accessSync, constants, readFileSync } from 'node:fs'
import { Guest } from './guest.js'
import type { GuestKernel } from './kernels.js'

/** A disk of the guest; the first is vda. */
export interface QemuDisk {
  socket: string
  queues: number
  packed?: boolean
  /** Connects again a second after the back-end has gone; what is in flight then waits. */
  reconnect?: boolean
}

/** A SCSI controller, or a source of entropy. */
export interface QemuDevice {
  kind: 'scsi' | 'rng'
  socket: string
  /** Request queues of a controller. */
  queues?: number
}

/** The machine. */
export interface QemuMachine {
  kernel: GuestKernel
  initramfs: string
  disks: readonly QemuDisk[]
  devices?: readonly QemuDevice[]
  cpus: number
  memoryMib: number
  /** Where QEMU listens for commands (QMP). */
  monitor?: string
}

/** `kvm` is far faster, where the host can do it. */
export type Accelerator = 'kvm' | 'tcg'

const PROGRAM = 'qemu-system-x86_64'
/** A kernel that runs at all is there long before. */
const PROBE_LIMIT_MS = 8000
const FIRST_SLOT = 4

let accelerator: Promise<Accelerator> | undefined

/** Boots the machine and waits until its console reads commands. */
export async function bootQemu(machine: QemuMachine): Promise<Guest> {
  accelerator ??= probeAccelerator(machine)
  return bootWith(await accelerator, machine)
}

/** A machine that waits for a guest to come from another QEMU, by `migrate-incoming` on its monitor. */
export async function awaitQemu(machine: QemuMachine): Promise<Guest> {
  accelerator ??= probeAccelerator(machine)
  const args = [...qemuArguments(await accelerator, machine), '-incoming', 'defer']
  return Guest.adopt(spawn(PROGRAM, args, { detached: true, stdio: ['pipe', 'pipe', 'pipe'] }))
}

/** KVM if this process may use it, the processor has it, and a kernel comes up with it. */
async function probeAccelerator(machine: QemuMachine): Promise<Accelerator> {
  try {
    accessSync('/dev/kvm', constants.R_OK | constants.W_OK)
    // Where a hypervisor hides them /dev/kvm may be there and a stock kernel hang in its decompressor.
    if (!/^flags\s*:.*\b(vmx|svm)\b/m.test(readFileSync('/proc/cpuinfo', 'utf8'))) return 'tcg'
    const guest = await bootWith('kvm', { ...machine, disks: [], devices: [] }, PROBE_LIMIT_MS)
    await guest.kill()
    return 'kvm'
  } catch {
    return 'tcg'
  }
}

function bootWith(accel: Accelerator, machine: QemuMachine, limitMs?: number): Promise<Guest> {
  const child = spawn(PROGRAM, qemuArguments(accel, machine), { detached: true, stdio: ['pipe', 'pipe', 'pipe'] })
  return Guest.boot(child, limitMs)
}

function qemuArguments(accel: Accelerator, machine: QemuMachine): string[] {
  const { kernel, initramfs, disks, devices = [], cpus, memoryMib, monitor } = machine
  return [
    ...['-accel', accel === 'kvm' ? 'kvm' : 'tcg,thread=multi'],
    ...['-machine', 'pc,memory-backend=ram', '-smp', String(cpus)],
    ...['-m', `${memoryMib}M`, '-object', `memory-backend-memfd,id=ram,size=${memoryMib}M,share=on`],
    ...['-nodefaults', '-no-user-config', '-display', 'none', '-no-reboot', '-serial', 'stdio'],
    ...['-kernel', kernel.path, '-initrd', initramfs],
    // Pages that a processor has cleared, and not only those that a device has written, would be known to a migration anyway.
    ...['-append', 'console=ttyS0 quiet loglevel=1 panic=-1 nokaslr mitigations=off init_on_alloc=0'],
    ...(monitor === undefined ? [] : ['-qmp', `unix:${monitor},server=on,wait=off`]),
    ...disks.flatMap(diskArguments),
    ...devices.flatMap(deviceArguments),
  ]
}

function diskArguments(disk: QemuDisk, index: number): string[] {
  const reconnect = disk.reconnect === true ? ',reconnect=1' : ''
  const address = `addr=${(FIRST_SLOT + index).toString(16)}`
  const rings = `num-queues=${disk.queues},packed=${disk.packed === true ? 'on' : 'off'}`
  return [
    ...['-chardev', `socket,id=socket${index},path=${disk.socket}${reconnect}`],
    ...['-device', `vhost-user-blk-pci,chardev=socket${index},${address},disable-legacy=on,${rings}`],
  ]
}

function deviceArguments({ kind, socket, queues = 1 }: QemuDevice, index: number): string[] {
  const device = kind === 'scsi' ? `vhost-user-scsi-pci,disable-legacy=on,num_queues=${queues}` : 'vhost-user-rng-pci'
  return ['-chardev', `socket,id=device${index},path=${socket}`, '-device', `${device},chardev=device${index}`]
}
