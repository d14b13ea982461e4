// vhost-user-blk: serves an image as a virtio-blk device at a socket, until it is told to end (SIGINT, SIGTERM).

import type { BlockBackend } from '../global-state/backend.js'
import { serveVhostUserBlk } from '../platform/vhost-user/serve-blk.js'
import { type Tool, usageError } from './tool.js'
import { runVhostUser, signalled, type VhostUserValues, vhostUserCommand } from './vhost-user-options.js'

interface Values extends VhostUserValues {
  serial?: string
}

/** Runs `vhost-user-blk`; `end` resolves when it is to stop. */
export function vhostUserBlk(tool: Tool, args: readonly string[], end = signalled): Promise<number> {
  return runVhostUser<Values>(
    tool,
    args,
    {
      // The process serves one disk, so that a write which the host makes wait holds up nobody else's.
      command: vhostUserCommand('vhost-user-blk', 'inline').option('--serial <text>'),
      capabilities: { type: 'block', features: ['read-only', 'blk-file'] },
      checkNames(names) {
        if (names.length !== 1) throw usageError(tool.name, 'Expecting one image file name')
      },
      serve([backend], serving, { serial, discard }) {
        const shown = serial === undefined ? {} : { serial }
        return serveVhostUserBlk(backend as BlockBackend, { ...serving, ...shown, discard: discard === 'unmap' })
      },
    },
    end,
  )
}
