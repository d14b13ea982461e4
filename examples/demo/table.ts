// The table that the demo prints.

import { type Accounting, MiB } from 'blockgraph/node'
import { type GuestReport, QUEUE_DEPTH } from './guest.js'

/** An edit of the graph under load: what was done, and how long its drained section lasted, the wait for it included. */
export interface TimedEdit {
  what: string
  ms: number
}

/** Prints what the guest saw, what the backend counted, and how long each edit of the graph took under load. */
export function printTable(report: GuestReport, { read, write, flush }: Accounting, edits: readonly TimedEdit[]): void {
  const { requests, reads, writes, latencies, ms } = report
  const at = (share: number) => `${(latencies[Math.floor((latencies.length - 1) * share)] ?? 0).toFixed(2)} ms`
  const megabytes = (report.bytes / MiB / (ms / 1000)).toFixed(0)
  const rows: [string, string][] = [
    ['requests', `${requests} (${reads} reads, ${writes} writes), ${QUEUE_DEPTH} in flight`],
    ['rate', `${Math.round((requests * 1000) / ms)} requests/s, ${megabytes} MiB/s`],
    ['latency', `p50 ${at(0.5)}, p99 ${at(0.99)}, p99.9 ${at(0.999)}`],
    ['drains', edits.map((edit) => `${edit.what} ${edit.ms.toFixed(1)} ms`).join(', ')],
    [
      'backend',
      `${read.operations} reads, ${write.operations} writes, ${flush.operations} flushes, ${read.failed + write.failed} failed`,
    ],
  ]
  for (const [name, value] of rows) console.log(`${name.padEnd(8)} ${value}`)
}
