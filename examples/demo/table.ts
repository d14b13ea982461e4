// The table that the demo prints.

import { type Accounting, MiB } from 'blockgraph/node'
import type { GuestReport } from './guest.js'

/** Prints what the guest saw, what the backend counted, and how long each edit of the graph took under load. */
export function printTable(report: GuestReport, accounting: Accounting, drains: readonly number[]): void {
  const at = (share: number) =>
    report.latencies[Math.min(Math.floor(report.latencies.length * share), report.latencies.length - 1)] ?? 0
  const rows: [string, string][] = [
    ['requests', `${report.requests} (${report.reads} reads, ${report.writes} writes), 64 in flight`],
    [
      'rate',
      `${Math.round((report.requests * 1000) / report.ms)} requests/s, ${(report.bytes / MiB / (report.ms / 1000)).toFixed(0)} MB/s`,
    ],
    ['latency', `p50 ${at(0.5).toFixed(2)} ms, p99 ${at(0.99).toFixed(2)} ms, p99.9 ${at(0.999).toFixed(2)} ms`],
    [
      'edits',
      `${drains.length} under load, each in a drained section: ${drains.map((ms) => `${ms.toFixed(1)} ms`).join(', ')}`,
    ],
    [
      'backend',
      `${accounting.read.operations} reads, ${accounting.write.operations} writes, ${accounting.flush.operations} flushes, ${accounting.read.failed + accounting.write.failed} failed`,
    ],
  ]
  for (const [name, value] of rows) console.log(`${name.padEnd(8)} ${value}`)
}
