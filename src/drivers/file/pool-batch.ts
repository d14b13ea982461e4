// When a request is handed to the thread pool. A pool thread that finds its queue empty goes to sleep, and waking it costs
// more than a cached read; so while others are under way requests go in batches, at the latest at the end of this turn of
// the event loop, when all that was completed in it has sent its next. The first few go at once: nobody waits for company.

/** What is handed over. */
export interface PoolRequest {
  issue(): void
}

/** Requests under way up to which each goes at once, and requests that go together. */
export const POOL_AT_ONCE = 4
export const POOL_BATCH = 8

let waiting: PoolRequest[] = []
let ends = false

/** Issues `request`, now or within this turn; `underWay` counts the requests of its file, this one included. */
export function issueSoon(request: PoolRequest, underWay: number): void {
  if (underWay <= POOL_AT_ONCE) {
    request.issue()
    return
  }
  waiting.push(request)
  if (waiting.length >= POOL_BATCH) issueAll()
  else if (!ends) {
    ends = true
    setImmediate(endTurn)
  }
}

function endTurn(): void {
  ends = false
  issueAll()
}

function issueAll(): void {
  const batch = waiting
  waiting = []
  for (const request of batch) request.issue()
}
