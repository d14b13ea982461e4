// When a request is handed to the thread pool. A pool thread that finds its queue empty goes to sleep, and waking it costs
// more than a cached read; so while others are under way requests go in batches, at the latest at the end of this turn of
// the event loop, when all that was completed in it has sent its next. The first few go at once: nobody waits for company.
// What lies side by side in a batch is one host call.

import { issueJoined, type JoinableRequest, mayJoin } from './joined-transfer.js'

/** Requests under way up to which each goes at once, and requests that go together. */
export const POOL_AT_ONCE = 4
export const POOL_BATCH = 16

let waiting: JoinableRequest[] = []
let ends = false

/** Issues `request`, now or within this turn; `underWay` counts the requests of its file, this one included. */
export function issueSoon(request: JoinableRequest, underWay: number): void {
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
  let joined: JoinableRequest[] = []
  for (const request of batch) {
    if (joined.length > 0 && !mayJoin(joined, request)) {
      issueJoined(joined)
      joined = []
    }
    joined.push(request)
  }
  if (joined.length > 0) issueJoined(joined)
}
