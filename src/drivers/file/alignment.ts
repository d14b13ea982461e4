// What direct I/O on a file needs: tried out by reading, since no portable call tells it (open(2), O_DIRECT).

import { releaseAlignedBuffer, takeAlignedBuffer } from '../../platform/aligned-buffer.js'
import type { HostFile } from '../../platform/host-file.js'

/** Alignments in bytes. */
export interface DirectAlignment {
  request: number
  memory: number
}

const CANDIDATES = [1, 512, 1024, 2048, 4096]
/** Enough for every file system met; taken where reading does not tell. */
const SAFE_ALIGNMENT = 4096

/** The alignments `fd`, opened for direct I/O, needs. */
export async function probeDirectAlignment(host: HostFile, fd: number): Promise<DirectAlignment> {
  const buffer = takeAlignedBuffer(2 * SAFE_ALIGNMENT)
  try {
    const request = await firstAccepted((unit) => accepts(host, fd, buffer, 0, unit))
    const memory = await firstAccepted((unit) => accepts(host, fd, buffer, unit, request))
    return { request, memory }
  } finally {
    releaseAlignedBuffer(buffer)
  }
}

async function firstAccepted(accepted: (unit: number) => Promise<boolean>): Promise<number> {
  for (const unit of CANDIDATES) {
    // Who takes single bytes did not look: an empty file, or a file system that falls back to its cache.
    if (await accepted(unit)) return unit === 1 ? SAFE_ALIGNMENT : unit
  }
  return SAFE_ALIGNMENT
}

function accepts(host: HostFile, fd: number, buffer: Uint8Array, start: number, bytes: number): Promise<boolean> {
  return new Promise((resolve) => {
    host.read(fd, buffer, start, bytes, 0, (error) => {
      resolve((error as { code?: unknown } | null)?.code !== 'EINVAL')
    })
  })
}
