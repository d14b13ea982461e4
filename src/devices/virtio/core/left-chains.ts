// What a queue leaves behind when it ends before all of its chains could: requests that the `stop` policy has set aside,
// chains of an earlier life that were not served, and in order what is done and held for its turn. As descriptors, since the
// slots of a packed ring may be overwritten by now.

import type { DescriptorChain } from '../memory/descriptor-chain.js'
import type { DeviceQueue, QueueState } from '../queue/device-queue.js'
import type { EarlierList } from '../queue/taken-heads.js'

/** A chain that was taken and not returned. */
export interface LeftChain {
  readonly head: number
  readonly list: EarlierList
}

/** A queue between two lives: what `enableQueue` goes on from, and what `refetch` is given then. */
export interface SuspendedQueue {
  readonly state: QueueState
  readonly heads: readonly number[]
  readonly lists: readonly EarlierList[]
}

const NO_DESCRIPTORS = new Uint32Array(0)

/** The chains of a queue of which only those in `setAside` are under way. */
export function chainsLeft(queue: DeviceQueue, setAside: readonly DescriptorChain[]): LeftChain[] {
  const chains = setAside.map((chain) => left(queue, chain.head, chain.descriptors()))
  for (const { head, list } of queue.earlierChains())
    chains.push(list === undefined ? left(queue, head) : { head, list })
  return inTurn(queue, chains)
}

/** The same, with where the queue stands. */
export function suspended(queue: DeviceQueue, setAside: readonly DescriptorChain[]): SuspendedQueue {
  const chains = chainsLeft(queue, setAside)
  return { state: queue.save(), heads: chains.map(({ head }) => head), lists: chains.map(({ list }) => list) }
}

/** Whether nothing of a queue is under way but what is set aside, or done and held for its turn. */
export function onlyLeft(queue: DeviceQueue, setAside: readonly DescriptorChain[]): boolean {
  const held = queue.ordered().filter(({ done }) => done !== undefined)
  return queue.inFlight === setAside.length + held.length
}

function left(queue: DeviceQueue, head: number, descriptors: Uint32Array = NO_DESCRIPTORS): LeftChain {
  return { head, list: { slots: queue.slotsOf(head), descriptors } }
}

/** In order: as they have to go back, those among them that have been done and are held for their turn. */
function inTurn(queue: DeviceQueue, chains: LeftChain[]): LeftChain[] {
  const order = queue.ordered()
  if (order.length === 0) return chains
  const turns = new Map(order.map(({ head }, turn) => [head, turn]))
  const held = order.flatMap(({ head, done }): LeftChain[] =>
    done === undefined ? [] : [{ head, list: { slots: queue.slotsOf(head), descriptors: NO_DESCRIPTORS, done } }],
  )
  return [...chains, ...held].sort((a, b) => (turns.get(a.head) ?? 0) - (turns.get(b.head) ?? 0))
}
