// A file in the host's cache: what is left is the way to the host and back.

import type { Comparison, Contestant, PairedCase } from '../paired.js'
import { type BenchRequest, type OurSettings, ourRate, peerRate } from '../support/bench-tools.js'
import { syncTestFile } from '../support/test-file.js'

/** What the cases need to know. */
export interface CachedFileSettings {
  /** The file; cached. */
  file: string
  /** The same for writes: what it holds does not last. */
  writtenFile: string
  /** Requests of one run at queue depth 32. */
  count: number
  peerMissing: string | undefined
  /** The peer is there, but the host gives it no io_uring. */
  ioUringMissing: string | undefined
  nativeMissing: string | undefined
}

const KIB = 1024
const THREADS = 'qemu-img, threads'
const IO_URING = 'qemu-img, io_uring'
const NATIVE = 'native calls'
const POOL_1 = 'no native calls, 1 pool thread'
const INLINE = 'native calls, aio=inline'
const POOL_4 = 'no native calls, 4 pool threads'

/** Reads at queue depths 32 and 1, writes at 32. */
export function cachedFileCases(settings: CachedFileSettings): PairedCase[] {
  return [readsAt32(settings), readsApartAt32(settings), readsAt1(settings), writesAt32(settings)]
}

function readsAt32(settings: CachedFileSettings): PairedCase {
  const request = requestOf(settings, { depth: 32 })
  const noNative = (pool: number) => ({ native: false, pool })
  const comparisons: Comparison[] = [
    { ours: POOL_1, peer: THREADS, target: { atLeast: 3 } },
    { ours: POOL_1, peer: IO_URING, target: { atLeast: 1 } },
    { ours: POOL_4, peer: THREADS },
    { ours: POOL_4, peer: IO_URING },
    { ours: NATIVE, peer: IO_URING, target: { atLeast: 1.5 } },
    { ours: NATIVE, peer: THREADS },
  ]
  return {
    group: 'cached reads of a raw file, QD 32, 4 KiB',
    contestants: [
      ours(POOL_1, request, noNative(1)),
      threads(settings, request),
      ours(POOL_4, request, noNative(4)),
      ioUring(settings, request),
      ours(NATIVE, request, { native: true, pool: 4 }, settings.nativeMissing),
    ],
    comparisons,
  }
}

/** No two requests lie side by side: none can be joined with another. */
function readsApartAt32(settings: CachedFileSettings): PairedCase {
  const request = requestOf(settings, { depth: 32, step: 12 * KIB })
  return {
    group: 'cached reads of a raw file, QD 32, 4 KiB in every 12 KiB',
    contestants: [
      ours(POOL_1, request, { native: false, pool: 1 }),
      threads(settings, request),
      ours(POOL_4, request, { native: false, pool: 4 }),
      ioUring(settings, request),
    ],
    comparisons: [
      { ours: POOL_1, peer: THREADS },
      { ours: POOL_1, peer: IO_URING },
      { ours: POOL_4, peer: THREADS },
    ],
  }
}

function readsAt1(settings: CachedFileSettings): PairedCase {
  const request = requestOf(settings, { depth: 1, count: Math.ceil(settings.count / 4) })
  return {
    group: 'cached reads of a raw file, QD 1, 4 KiB',
    contestants: [
      ours(NATIVE, request, { native: true, pool: 4 }, settings.nativeMissing),
      threads(settings, request),
      ours(POOL_1, request, { native: false, pool: 1 }),
      ioUring(settings, request),
    ],
    comparisons: [
      { ours: NATIVE, peer: THREADS, target: { atLeast: 5 } },
      { ours: NATIVE, peer: IO_URING },
      { ours: POOL_1, peer: THREADS },
    ],
  }
}

function writesAt32(settings: CachedFileSettings): PairedCase {
  const written = { ...settings, file: settings.writtenFile }
  const request = requestOf(written, { depth: 32, write: true, count: Math.ceil(settings.count / 2) })
  const synced = (contestant: Contestant): Contestant => ({
    ...contestant,
    run: () => {
      syncTestFile(written.file)
      return contestant.run()
    },
  })
  return {
    group: 'cached writes of a raw file, QD 32, 4 KiB',
    contestants: [
      ours('1 pool thread', request, { native: true, pool: 1 }),
      threads(settings, request),
      ours('4 pool threads', request, { native: true, pool: 4 }),
      ioUring(settings, request),
      ours(INLINE, { ...request, aio: 'inline' }, { native: true, pool: 4 }, settings.nativeMissing),
    ].map(synced),
    comparisons: [
      { ours: '1 pool thread', peer: THREADS, target: { atLeast: 1.5 } },
      { ours: '4 pool threads', peer: THREADS, target: { atLeast: 1.5 } },
      { ours: '1 pool thread', peer: IO_URING },
      { ours: INLINE, peer: THREADS },
      { ours: INLINE, peer: IO_URING },
    ],
  }
}

function requestOf(settings: CachedFileSettings, request: Partial<BenchRequest> & { depth: number }): BenchRequest {
  return { count: settings.count, image: ['-f', 'raw', settings.file], ...request }
}

function ours(label: string, request: BenchRequest, our: OurSettings, missing?: string): Contestant {
  return { label, run: () => ourRate(request, our), missing }
}

function threads(settings: CachedFileSettings, request: BenchRequest): Contestant {
  return { label: THREADS, run: () => peerRate({ ...request, aio: 'threads' }), missing: settings.peerMissing }
}

function ioUring(settings: CachedFileSettings, request: BenchRequest): Contestant {
  const missing = settings.peerMissing ?? settings.ioUringMissing
  return { label: IO_URING, run: () => peerRate({ ...request, aio: 'io_uring' }), missing }
}
