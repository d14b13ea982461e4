// raw over a null driver: what is left is the request path.

import type { PairedCase } from '../paired.js'
import { type BenchRequest, ourRate, peerRate } from '../support/bench-tools.js'
import { runWorker } from '../support/process.js'

const DEPTH = 32

/** The tools against each other, and our library as its users call it against their tool. */
export function nullDriverCase(count: number, peerMissing: string | undefined): PairedCase {
  const tools = (driver: 'null-co' | 'null-aio') => {
    const image = ['--image-opts', `driver=raw,file.driver=${driver},file.size=1G`]
    const request: BenchRequest = { depth: DEPTH, count, image }
    return [
      { label: `blockgraph-img, ${driver}`, run: () => ourRate(request, { native: true, pool: 4 }) },
      { label: `awaited reads of a backend, ${driver}`, run: () => awaitedRate(driver, count) },
      { label: `qemu-img, ${driver}`, run: () => peerRate(request), missing: peerMissing },
    ]
  }
  return {
    group: `raw over null, QD ${DEPTH}, 4 KiB`,
    contestants: [...tools('null-co'), ...tools('null-aio')],
    comparisons: [
      { ours: 'blockgraph-img, null-co', peer: 'qemu-img, null-co', target: { atLeast: 3 } },
      { ours: 'awaited reads of a backend, null-co', peer: 'qemu-img, null-co', target: { atLeast: 3 } },
      { ours: 'blockgraph-img, null-aio', peer: 'qemu-img, null-aio' },
      { ours: 'awaited reads of a backend, null-aio', peer: 'qemu-img, null-aio' },
    ],
  }
}

async function awaitedRate(driver: string, count: number): Promise<number> {
  const { rate } = await runWorker('request-path', [driver, 'awaited', 'read', String(count)])
  return rate ?? Number.NaN
}
