// Guest memory whose regions meet in the midst of a queue.

import { GuestMemory, type GuestRegionOptions } from '../../src/devices/virtio/memory/guest-memory.js'

/** `ram` from address 0 on, cut at each of `borders`, which are multiples of 16 in ascending order. */
export function cutMemory(ram: Uint8Array, borders: readonly number[]): GuestMemory {
  const starts = [0, ...borders]
  return new GuestMemory(
    starts.map((start, i): GuestRegionOptions => ({ address: start, memory: ram.subarray(start, starts[i + 1]) })),
  )
}

/** Every multiple of `step` from `from` to `to`, with `more` behind them. */
export function bordersEvery(step: number, from: number, to: number, ...more: number[]): number[] {
  const borders = Array.from({ length: Math.floor((to - from) / step) + 1 }, (_, i) => from + i * step)
  return [...borders, ...more]
}
