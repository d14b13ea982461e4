// Sequential traffic for a guest with a virtio-blk device, and what the backend was asked.

import { BlockError } from '../../src/common/error.js'
import { BlkMachine, DATA, type MachineOptions } from './blk-machine.js'
import type { DiskCall } from './flat-disk.js'

/** A machine whose sector n is full of bytes n + 1. */
export function numbered(options: MachineOptions = {}): BlkMachine {
  const machine = new BlkMachine({ queueSize: 256, driverQueueSize: 256, ...options })
  const { data } = machine.disk
  for (let i = 0; i < data.byteLength; i++) data[i] = ((i >>> 9) + 1) & 0xff
  return machine
}

/** Where request `i` has its data. */
export const at = (i: number) => DATA + 1024 * i

export function read(machine: BlkMachine, sector: number, count: number): void {
  for (let i = 0; i < count; i++) machine.driver.submitRead(sector + i, at(i), 512)
}

/** Writes `count` sectors, each full of bytes 0x80 + i. */
export function write(machine: BlkMachine, sector: number, count: number): void {
  for (let i = 0; i < count; i++) {
    machine.ram.fill(0x80 + i, at(i), at(i) + 512)
    machine.driver.submitWrite(sector + i, at(i), 512)
  }
}

export const shape = ({ kind, offset, bytes }: DiskCall) => `${kind} ${offset / 512}+${bytes / 512}`
export const shapes = (machine: BlkMachine) => machine.disk.calls.map(shape)
export const touches = (call: DiskCall, sector: number) =>
  call.offset <= sector * 512 && sector * 512 < call.offset + call.bytes
export const bad = (sector: number) => (call: DiskCall) =>
  touches(call, sector) ? new BlockError('EIO', `sector ${sector}`) : undefined
