// blockgraph: serves disks. One command per file, loaded when it is used.

import { exitCodeOf, processTool } from './process-tool.js'
import { type Tool, usageError } from './tool.js'

const NAME = 'blockgraph'

type Command = (tool: Tool, args: readonly string[]) => Promise<number>

const COMMANDS: Readonly<Record<string, () => Promise<Command>>> = {
  'vhost-user-blk': async () => (await import('./vhost-user-blk.js')).vhostUserBlk,
  'vhost-user-scsi': async () => (await import('./vhost-user-scsi.js')).vhostUserScsi,
}

/** Runs the tool with `args` (command and its arguments) and gives the exit code. */
export function main(args: readonly string[], tool: Tool = processTool(NAME)): Promise<number> {
  return exitCodeOf(tool, () => run(tool, args))
}

async function run(tool: Tool, args: readonly string[]): Promise<number> {
  const [word, ...rest] = args
  if (word === undefined) throw usageError(tool.name, 'Not enough arguments')
  const end = rest.indexOf('--')
  const help = (end < 0 ? rest : rest.slice(0, end)).some((arg) => arg === '-h' || arg === '--help')
  if (help || word === '-h' || word === '--help') {
    tool.out(usage(tool.name))
    return 0
  }
  if (word === '-V' || word === '--version') {
    const { versionText } = await import('./version.js')
    tool.out(versionText(tool.name))
    return 0
  }
  if (word.startsWith('-')) throw usageError(tool.name, `unrecognized option '${word}'`)
  const load = Object.hasOwn(COMMANDS, word) ? COMMANDS[word] : undefined
  if (load === undefined) throw usageError(tool.name, `Command not found: ${word}`)
  return (await load())(tool, rest)
}

function usage(tool: string): string {
  return `usage: ${tool} [standard options] command [command options]
Serves disk images to virtual machines

    -h, --help       show this help and exit
    -V, --version    show the version and exit

Commands:
  vhost-user-blk --socket path [--num-queues n] [--queue-size n] [--serial text] [-f fmt | --image-opts] [--object objectdef]
                 [-r] [-t cache] [-i aio] [-d discard] [-U] [--no-packed] [--second policy] [--require-sealed]
                 [--inband-notifications] [-v] filename
                   an image as a virtio-blk device
  vhost-user-scsi  the same options, any number of --serial, [--targets] filename...
                   images as the disks of a virtio-scsi device: LUN 0, 1, ... of target 0

  filename         a file, a json:{...} name, or options with --image-opts
  --socket path    where front-ends connect; made anew, removed at the end
  --num-queues n   queues of the device (1 to 64, default 1)
  --queue-size n   entries of a queue at most (a power of two, default 256)
  --serial text    serial number the guest sees (20 characters; 36 of a SCSI disk, in the order of the images)
  --targets        each image is a target of its own, at its LUN 0
  -f fmt           format of the image; guessed where it is left out
  -r               read-only
  -t cache         none, writeback (default), writethrough, directsync, unsafe
  -i aio           how requests reach the host: inline (default of vhost-user-blk: writes, too, by this thread where they are
                   quick), threads (default of vhost-user-scsi), native or io_uring
  -d discard       unmap (default) or ignore
  --no-packed      offer no packed rings
  --second policy  what a front-end does while another is there: wait (default), or it is sent away: refuse
  --require-sealed accept only guest memory that cannot be made shorter (a memfd, as QEMU's memory-backend-memfd makes)
  --inband-notifications   offer kicks as messages, for front-ends without events; far slower
  -v               tell when front-ends come and go
`
}
