// Who keeps a record of the chains a device has, outside the process, so that a device that is killed and started again can
// take up what was in flight: vhost-user's in-flight region. The calls come in an order that survives a kill at any point.

/** Hears of every head on its way through a device. Called on the path of every request; what it throws is a defect. */
export interface InflightTracker {
  /**
   * `head` was taken, and nothing has been done for it yet. For a packed ring, whose descriptors may be overwritten before
   * the chain comes back, `descriptors` are its `count` descriptors as they were read, four words each in the host's order;
   * good during the call. A split ring keeps them: `count` is 0. What is fetched by `refetch` is not announced again.
   */
  taken(head: number, descriptors: Uint32Array, count: number): void

  /** `head` goes into the used ring, which the driver cannot see before the index moves. */
  returning(head: number): void

  /** All that were announced as returning are visible; the used position is this now. */
  published(usedIndex: number, usedWrap: boolean): void
}
