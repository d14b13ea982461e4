// The way back of every chain, whatever the device: its memory is told of, then its head goes into the ring.

import type { DescriptorChain } from '../memory/descriptor-chain.js'
import type { DeviceQueue } from '../queue/device-queue.js'
import type { Lane } from './lane.js'

/**
 * Puts a chain back with `length` bytes written, where its queue still lives. What was under way when a queue was reset
 * has written all the same, and so has a request that failed half way: all the room that a chain has counts as written.
 */
export function returnChain(lane: Lane, queue: DeviceQueue, chain: DescriptorChain, length: number): void {
  if (lane.log !== undefined) chain.tellWritable(lane.log)
  if (queue.live) queue.push(chain.head, length)
}
