// The same requests to a qcow2 image: what the format costs on top of its file.

import { rmSync } from 'node:fs'
import { join } from 'node:path'
import type { MeasuredCase } from '../measured.js'
import type { Comparison, Contestant, PairedCase } from '../paired.js'
import { type BenchRequest, ourRate, peerRate } from '../support/bench-tools.js'
import { repository, runProgram, runWorker } from '../support/process.js'

/** What the cases need to know. */
export interface Qcow2Settings {
  /** Where images go. */
  folder: string
  /** The raw file whose content the images get. */
  source: string
  /** Requests of one run. */
  count: number
  peerMissing: string | undefined
  ioUringMissing: string | undefined
  nativeMissing: string | undefined
}

const MIB = 2 ** 20
const GIB = 2 ** 30
const THREADS = 'qemu-img, threads'
const IO_URING = 'qemu-img, io_uring'
const NATIVE = 'native calls'
const POOL_1 = 'no native calls, 1 pool thread'

/** Cached reads, overwrites, allocating writes and the map of a large image. */
export function qcow2Cases(settings: Qcow2Settings): PairedCase[] {
  return [reads(settings), overwrites(settings), allocations(settings), conversion(settings), mapScan(settings)]
}

/** Memory for metadata stays inside what the options allow. */
export const qcow2Memory: MeasuredCase = {
  group: 'memory of a 1 TiB qcow2 image under random requests, l2-cache-size=2M',
  worker: 'qcow2-memory',
  measures: [
    { key: 'tables', name: 'tables in memory', unit: 'B', target: { below: 3 * MIB } },
    { key: 'grown', name: 'growth of the heap and of buffers', unit: 'B', target: { below: 16 * MIB } },
  ],
}

function reads(settings: Qcow2Settings): PairedCase {
  const image = copyOf(settings, 'read.qcow2')
  const request = async (): Promise<BenchRequest> => ({
    depth: 32,
    count: settings.count,
    image: ['-f', 'qcow2', await image()],
  })
  return {
    group: 'cached reads of a qcow2 image, QD 32, 4 KiB',
    contestants: [
      {
        label: NATIVE,
        run: async () => ourRate(await request(), { native: true, pool: 4 }),
        missing: settings.nativeMissing ?? settings.peerMissing,
      },
      threads(settings, request),
      {
        label: POOL_1,
        run: async () => ourRate(await request(), { native: false, pool: 1 }),
        missing: settings.peerMissing,
      },
      {
        label: IO_URING,
        run: async () => peerRate({ ...(await request()), aio: 'io_uring' }),
        missing: settings.peerMissing ?? settings.ioUringMissing,
      },
    ],
    comparisons: [
      { ours: NATIVE, peer: THREADS, target: { atLeast: 2.5 } },
      { ours: NATIVE, peer: IO_URING, target: { atLeast: 1 } },
      { ours: POOL_1, peer: THREADS },
      { ours: POOL_1, peer: IO_URING },
    ],
  }
}

function overwrites(settings: Qcow2Settings): PairedCase {
  const image = copyOf(settings, 'write.qcow2')
  const request = async (): Promise<BenchRequest> => ({
    depth: 32,
    count: Math.ceil(settings.count / 2),
    write: true,
    image: ['-f', 'qcow2', await image()],
  })
  return {
    group: 'overwrites of a qcow2 image, QD 32, 4 KiB',
    contestants: [
      {
        label: 'ours',
        run: async () => ourRate(await request(), { native: true, pool: 4 }),
        missing: settings.peerMissing,
      },
      threads(settings, request),
    ],
    comparisons: [{ ours: 'ours', peer: THREADS, target: { atLeast: 1.5 } }],
  }
}

/** Every round begins with an empty image. */
function allocations(settings: Qcow2Settings): PairedCase {
  const fresh = async (): Promise<BenchRequest> => {
    const path = join(settings.folder, 'allocate.qcow2')
    rmSync(path, { force: true })
    await runProgram('qemu-img', ['create', '-q', '-f', 'qcow2', path, String(4 * GIB)])
    return { depth: 32, count: 8000, bytes: 65536, write: true, image: ['-f', 'qcow2', path] }
  }
  return {
    group: 'allocating writes to a qcow2 image, QD 32, 64 KiB',
    contestants: [
      {
        label: 'ours',
        run: async () => ourRate(await fresh(), { native: true, pool: 4 }),
        missing: settings.peerMissing,
      },
      threads(settings, fresh),
    ],
    comparisons: [{ ours: 'ours', peer: THREADS, target: { atLeast: 1 } }],
  }
}

/** Whole commands, start of the process and all. */
function conversion(settings: Qcow2Settings): PairedCase {
  const tool = join(repository, 'bin', 'blockgraph-img.js')
  const bytesPerSecond = async (program: string, first: readonly string[], compress: boolean): Promise<number> => {
    const target = join(settings.folder, 'convert.qcow2')
    rmSync(target, { force: true })
    const began = performance.now()
    const flags = compress ? ['-c'] : []
    await runProgram(program, [...first, 'convert', ...flags, '-f', 'raw', '-O', 'qcow2', settings.source, target])
    return 1000 / (performance.now() - began)
  }
  const pair = (label: string, compress: boolean): Contestant[] => [
    {
      label: `ours, ${label}`,
      run: () => bytesPerSecond(process.execPath, [tool], compress),
      missing: settings.peerMissing,
    },
    { label: `qemu-img, ${label}`, run: () => bytesPerSecond('qemu-img', [], compress), missing: settings.peerMissing },
  ]
  const comparisons: Comparison[] = ['plain', 'compressed'].map((label) => ({
    ours: `ours, ${label}`,
    peer: `qemu-img, ${label}`,
  }))
  return {
    group: 'convert of 256 MiB raw to qcow2, whole commands',
    contestants: [...pair('plain', false), ...pair('compressed', true)],
    comparisons,
  }
}

/** All L2 tables of 64 GiB, read for the first time: from opening the image to the last extent. */
function mapScan(settings: Qcow2Settings): PairedCase {
  const image = once(async () => {
    const path = join(settings.folder, 'sparse.qcow2')
    await runProgram('qemu-img', ['create', '-q', '-f', 'qcow2', '-o', 'preallocation=metadata', path, '64G'])
    return path
  })
  const other = copyOf(settings, 'other.qcow2')
  return {
    group: 'map of a sparse qcow2 image of 64 GiB, first scan',
    contestants: [
      {
        label: 'ours, in a running process',
        run: async () => {
          const { seconds = Number.NaN } = await runWorker('qcow2-map', [await image(), await other()])
          return 1 / seconds
        },
        missing: settings.peerMissing,
      },
      {
        label: 'qemu-img map',
        run: async () => {
          const path = await image()
          const began = performance.now()
          await runProgram('qemu-img', ['map', '--output=json', '-f', 'qcow2', path])
          return 1000 / (performance.now() - began)
        },
        missing: settings.peerMissing,
      },
    ],
    comparisons: [{ ours: 'ours, in a running process', peer: 'qemu-img map', target: { atLeast: 1 } }],
  }
}

function threads(settings: Qcow2Settings, request: () => Promise<BenchRequest>): Contestant {
  return {
    label: THREADS,
    run: async () => peerRate({ ...(await request()), aio: 'threads' }),
    missing: settings.peerMissing,
  }
}

/** An image with the content of the source, made when it is first asked for. */
function copyOf(settings: Qcow2Settings, name: string): () => Promise<string> {
  return once(async () => {
    const path = join(settings.folder, name)
    await runProgram('qemu-img', ['convert', '-f', 'raw', '-O', 'qcow2', settings.source, path])
    return path
  })
}

function once(make: () => Promise<string>): () => Promise<string> {
  let made: Promise<string> | undefined
  return () => {
    made ??= make()
    return made
  }
}
