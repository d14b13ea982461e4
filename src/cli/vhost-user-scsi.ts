// vhost-user-scsi: serves images as the disks of a virtio-scsi device at a socket, until it is told to end (SIGINT, SIGTERM).

import { serveVhostUserScsi } from '../platform/vhost-user/serve-scsi.js'
import { repeatedOption } from './command-line.js'
import { type Tool, ToolError, usageError } from './tool.js'
import { runVhostUser, signalled, type VhostUserValues, vhostUserCommand } from './vhost-user-options.js'

interface Values extends VhostUserValues {
  serial?: string[]
  targets?: boolean
}

/** Runs `vhost-user-scsi`; `end` resolves when it is to stop. */
export function vhostUserScsi(tool: Tool, args: readonly string[], end = signalled): Promise<number> {
  return runVhostUser<Values>(
    tool,
    args,
    {
      command: vhostUserCommand('vhost-user-scsi', 'threads')
        .addOption(repeatedOption('--serial <text>'))
        .option('--targets'),
      capabilities: { type: 'scsi', features: [] },
      checkNames(names) {
        if (names.length === 0) throw usageError(tool.name, 'Expecting at least one image file name')
      },
      serve(backends, serving, { serial = [], targets = false, discard }) {
        if (serial.length > backends.length) throw new ToolError('there are more serial numbers than images')
        const disks = backends.map((disk, index) => {
          const place = targets ? { target: index, lun: 0 } : { target: 0, lun: index }
          return { disk, ...place, unmap: discard === 'unmap', serial: serial[index] ?? '' }
        })
        return serveVhostUserScsi(disks, serving)
      },
    },
    end,
  )
}
