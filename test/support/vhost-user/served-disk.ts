// A disk in memory on a socket in a folder of its own, and what its server has said.

import { mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { loadHostIpc } from '../../../src/platform/native/host-ipc.js'
import type { NodeDisk } from '../../../src/platform/node-disk.js'
import { openDisk } from '../../../src/platform/open-disk.js'
import {
  serveVhostUserBlk,
  type VhostUserBlkOptions,
  type VhostUserBlkServer,
} from '../../../src/platform/vhost-user/serve-blk.js'
import { mappedMemory, openFiles } from './open-files.js'

/** What is served. */
export interface ServedDisk {
  readonly disk: NodeDisk
  readonly server: VhostUserBlkServer
  readonly socket: string
  /** What the server logged. */
  readonly log: string[]
  close(): Promise<void>
}

const BYTES = 16 << 20

/** Serves a disk: a new one of 16 MiB, in memory, where requests end at once, or in a file, where writes take their time. */
export async function serveDisk(
  options: Partial<VhostUserBlkOptions> = {},
  medium: 'memory' | 'file' | NodeDisk = 'memory',
): Promise<ServedDisk> {
  const folder = mkdtempSync(join(tmpdir(), 'vhost-user-'))
  const socket = join(folder, 'socket')
  const log: string[] = []
  const image = join(folder, 'disk.img')
  if (medium === 'file') {
    writeFileSync(image, '')
    truncateSync(image, BYTES)
  }
  const opened = typeof medium !== 'string'
  const disk = opened ? medium : await openDisk(medium === 'file' ? image : { driver: 'memory', size: BYTES })
  const server = await serveVhostUserBlk(disk, { socket, log: (line) => log.push(line), ...options })
  return {
    disk,
    server,
    socket,
    log,
    async close() {
      await server.close()
      await disk.close()
      rmSync(folder, { recursive: true, force: true })
    },
  }
}

/** Runs `act` and compares what this process has open, and mapped, before and after. */
export async function leavesNothingOpen(act: () => Promise<void>): Promise<void> {
  // Whatever is made once for a process is there before.
  await loadHostIpc()
  const warm = await serveDisk()
  await warm.close()
  const before = [...openFiles(), ...mappedMemory()]
  await act()
  // Handles of the event loop are closed on its next turn.
  await new Promise((resolve) => setTimeout(resolve, 5))
  const after = [...openFiles(), ...mappedMemory()]
  if (after.join('\n') !== before.join('\n')) {
    const extra = after.filter((each) => !before.includes(each))
    throw new Error(`left open: ${after.length - before.length} more than ${before.length}: ${extra.join(', ')}`)
  }
}
