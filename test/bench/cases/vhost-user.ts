// A guest's requests over vhost-user to `blockgraph vhost-user-blk`, and from the same guest to QEMU's own back-end.

import { type BackendKind, ourBackend, storageDaemon } from '../../support/guest/backend-process.js'
import type { PairedCase } from '../paired.js'
import { BenchGuest, benchGuestMissing, type GuestLoad } from '../support/bench-guest.js'

/** What the cases need to know. */
export interface VhostUserSettings {
  /** Of which each back-end serves a copy; cached. */
  image: string
  /** Where the copies go. */
  folder: string
  /** Of one sample. */
  seconds: number
  ioUringMissing: string | undefined
  nativeMissing: string | undefined
}

const KIB = 1024
const MIB = 1024 * KIB
const OURS = 'ours'
/** Reads of more than 128 KiB are the pool's. Cached, they want no more threads than there are processors left. */
const OURS_1 = 'ours, 1 pool thread'
const THREADS = 'qemu-storage-daemon, threads'
const IO_URING = 'qemu-storage-daemon, io_uring'

const LOADS: readonly { title: string; load: Omit<GuestLoad, 'seconds'>; atLeast: number; judged?: string }[] = [
  { title: 'random reads, QD 1, 4 KiB', load: { rw: 'randread', bytes: 4 * KIB, depth: 1 }, atLeast: 1 },
  { title: 'random writes, QD 1, 4 KiB', load: { rw: 'randwrite', bytes: 4 * KIB, depth: 1 }, atLeast: 1 },
  { title: 'random reads, QD 32, 4 KiB', load: { rw: 'randread', bytes: 4 * KIB, depth: 32 }, atLeast: 1.3 },
  { title: 'random writes, QD 32, 4 KiB', load: { rw: 'randwrite', bytes: 4 * KIB, depth: 32 }, atLeast: 1.3 },
  { title: 'sequential reads, QD 4, 1 MiB', load: { rw: 'read', bytes: MIB, depth: 4 }, atLeast: 1, judged: OURS_1 },
  { title: 'sequential writes, QD 4, 1 MiB', load: { rw: 'write', bytes: MIB, depth: 4 }, atLeast: 1 },
]

/** Cases that share one guest, booted when it is first asked for, with a disk on each back-end. `close` ends it. */
export function vhostUserCases(settings: VhostUserSettings): { cases: PairedCase[]; close(): Promise<void> } {
  const missing = benchGuestMissing()
  const kinds: { label: string; kind: BackendKind; missing: string | undefined }[] = [
    { label: OURS, kind: ourBackend, missing: missing ?? settings.nativeMissing },
    {
      label: OURS_1,
      kind: { ...ourBackend, env: { UV_THREADPOOL_SIZE: '1' } },
      missing: missing ?? settings.nativeMissing,
    },
    { label: THREADS, kind: storageDaemon, missing },
    { label: IO_URING, kind: ioUringDaemon, missing: missing ?? settings.ioUringMissing },
  ]
  const present = kinds.filter((one) => one.missing === undefined)
  let booted: Promise<BenchGuest> | undefined
  const guest = () => {
    const backends = present.map(({ kind }) => kind)
    booted ??= BenchGuest.boot(backends, settings.image, settings.folder)
    return booted
  }
  const cases = LOADS.map(({ title, load, atLeast, judged = OURS }) => ({
    group: `vhost-user, guest in user-mode Linux, ${title}`,
    contestants: kinds.map((one) => ({
      label: one.label,
      missing: one.missing,
      run: async () => (await guest()).rate(present.indexOf(one), { ...load, seconds: settings.seconds }),
    })),
    comparisons: [
      { ours: judged, peer: THREADS, target: { atLeast } },
      { ours: judged === OURS ? OURS_1 : OURS, peer: THREADS },
      { ours: judged, peer: IO_URING },
    ],
  }))
  return { cases, close: async () => (await booted)?.close() }
}

const ioUringDaemon: BackendKind = {
  name: 'qemu-storage-daemon',
  command: (request) =>
    storageDaemon.command(request).map((text) => text.replace('driver=file', 'driver=file,aio=io_uring')),
}
