// Which heads a device has: taken from the ring and not returned. A head is in a device once at most (so that there are
// never more requests than entries), whether it came by the ring or from an earlier life.

import { assert } from '../../../common/assert.js'
import { type HeldCompletion, isCompletion, type ReturnOrder } from './return-order.js'

/** A list of a packed ring that was taken in an earlier life; the ring may hold something else by now. */
export interface EarlierList {
  /** Slots it occupied. */
  readonly slots: number
  /** Its descriptors as they were read from the ring, four words each in the host's order. None where `done`. */
  readonly descriptors: Uint32Array
  /** In order: it had completed, and was held for its turn. It is not fetched again, but returned. */
  readonly done?: HeldCompletion
}

/** A head of an earlier life; a split ring still has its descriptors, and there is no list. */
export interface EarlierChain {
  readonly head: number
  readonly list: EarlierList | undefined
}

/** The heads of one queue. */
export class TakenHeads {
  /** Taken and not returned. */
  inFlight = 0
  /** Of an earlier life, to be fetched before anything new. */
  earlier = 0
  earlierList: EarlierList | undefined

  private readonly size: number
  private readonly taken: Uint8Array
  private readonly earlierHeads: number[] = []
  private readonly earlierLists: (EarlierList | undefined)[] = []

  constructor(size: number) {
    this.size = size
    this.taken = new Uint8Array(size)
  }

  /** Takes `head`; why it cannot be taken, if so. */
  take(head: number): string | undefined {
    if (head >= this.size) return `head ${head} is not in the ring of ${this.size} (virtio 1.2, 2.7.6, 2.8.21.1)`
    if (this.taken[head] === 1)
      return `head ${head} was offered again before it was used (virtio 1.2, 2.7.13.1, 2.8.16)`
    this.taken[head] = 1
    this.inFlight++
    return undefined
  }

  /** Lets go of a head on its way back. */
  release(head: number): void {
    assert(this.taken[head] === 1, `head ${head} is not in flight`)
    this.taken[head] = 0
    this.inFlight--
  }

  /** Whether `head` can be one of an earlier life: it is a head, and not here already. */
  free(head: number): boolean {
    return Number.isSafeInteger(head) && head >= 0 && head < this.size && this.taken[head] === 0
  }

  /** Notes a free head of an earlier life. It is in flight when it is fetched. */
  addEarlier(head: number, list: EarlierList | undefined): void {
    this.taken[head] = 1
    this.earlierHeads.push(head)
    this.earlierLists.push(list)
    this.earlier++
  }

  /** Heads of an earlier life that have not been fetched, in their order. */
  waiting(): EarlierChain[] {
    return this.earlierHeads.map((head, i) => ({ head, list: this.earlierLists[i] }))
  }

  /** The next head of an earlier life; {@link earlierList} is its list. */
  nextEarlier(): number {
    const head = this.earlierHeads.shift()
    assert(head !== undefined, 'no head of an earlier life is left')
    this.earlierList = this.earlierLists.shift()
    this.earlier--
    this.inFlight++
    return head
  }
}

/** Takes over a head of an earlier life, to be fetched or, where it had completed, to be returned; false where it cannot be. */
export function takeOver(
  heads: TakenHeads,
  order: ReturnOrder | undefined,
  head: number,
  list: EarlierList | undefined,
): boolean {
  const done = list?.done
  if (!heads.free(head) || (done !== undefined && (order === undefined || !isCompletion(done)))) return false
  order?.taken(head)
  if (done === undefined) heads.addEarlier(head, list)
  else {
    heads.take(head)
    order?.room(head, done.writable)
    order?.complete(head, done.length)
  }
  return true
}
