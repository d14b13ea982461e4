// vhost-user-blk: serves an image as a virtio-blk device at a socket, until it is told to end (SIGINT, SIGTERM).

import { serveVhostUserBlk, type VhostUserBlkOptions, type VhostUserBlkServer } from '../platform/serve-vhost-user.js'
import { newCommand, parseCommandLine, repeatedOption } from './command-line.js'
import { failed } from './error-text.js'
import {
  aioMode,
  cacheMode,
  checkObjects,
  forceShareOption,
  formatOption,
  type ImageOptionValues,
  imageOptsOption,
  refuseCachedNative,
  refuseFormatWithImageOpts,
} from './image-options.js'
import { openImage } from './open-image.js'
import { type Session, withSession } from './session.js'
import { countArgument } from './sizes.js'
import { printable, type Tool, ToolError, usageError } from './tool.js'

interface Values extends ImageOptionValues {
  socket?: string
  socketPath?: string
  numQueues: number
  queueSize: number
  serial?: string
  readOnly?: boolean
  cache: string
  aio: string
  discard: string
  packed: boolean
  second: string
  requireSealed?: boolean
  inbandNotifications?: boolean
  verbose?: boolean
  printCapabilities?: boolean
}

/** What management programs ask for (vhost-user.rst, Backend program conventions). */
const CAPABILITIES = { type: 'block', features: ['read-only', 'blk-file'] }

/** Runs `vhost-user-blk`; `end` resolves when it is to stop. */
export async function vhostUserBlk(tool: Tool, args: readonly string[], end = signalled): Promise<number> {
  const { options, operands } = parseCommandLine<Values>(tool, command(), args)
  if (options.printCapabilities === true) {
    tool.out(`${JSON.stringify(CAPABILITIES, undefined, 2)}\n`)
    return 0
  }
  const socket = options.socket ?? options.socketPath
  if (socket === undefined) throw usageError(tool.name, 'vhost-user-blk: --socket is missing')
  const [name] = operands
  if (name === undefined || operands.length > 1) throw usageError(tool.name, 'Expecting one image file name')
  refuseFormatWithImageOpts(options.format, options.imageOpts)
  const secrets = checkObjects(options.object)
  return withSession(tool, async (session) => {
    session.defineSecrets(secrets)
    const server = await startServer(session, name, socket, options)
    const stopped = end()
    tool.out(`serving '${printable(name)}' at ${printable(socket)}\n`)
    await stopped
    await server.close()
    return 0
  })
}

function command() {
  const count = (what: string, min: number, max: number) => {
    return (text: string) => {
      const value = countArgument(text, min, max)
      if (value === undefined) throw new ToolError(`${what} must be ${min} to ${max}`)
      return value
    }
  }
  return (
    newCommand('vhost-user-blk')
      .option('-s, --socket <path>')
      .option('--socket-path <path>')
      .option('--num-queues <count>', '', count('--num-queues', 1, 64), 1)
      .option('--queue-size <entries>', '', count('--queue-size', 2, 32768), 256)
      .option('--serial <text>')
      .addOption(formatOption())
      .addOption(imageOptsOption())
      .addOption(repeatedOption('--object <def>'))
      .addOption(forceShareOption())
      .option('-r, --read-only')
      .option('-t, --cache <mode>', '', 'writeback')
      // The process serves one disk, so that a write which the host makes wait holds up nobody else's.
      .option('-i, --aio <mode>', '', aioMode, 'inline')
      .option('-d, --discard <mode>', '', 'unmap')
      .option('--no-packed')
      .option('--second <policy>', '', 'wait')
      .option('--require-sealed')
      .option('--inband-notifications')
      .option('-v, --verbose')
      .option('--print-capabilities')
  )
}

async function startServer(
  session: Session,
  name: string,
  socket: string,
  options: Values,
): Promise<VhostUserBlkServer> {
  const { format, imageOpts, forceShare, aio } = options
  const cache = cacheMode(options.cache, `Invalid cache option: ${printable(options.cache)}`)
  refuseCachedNative(aio, cache, `Could not open '${printable(name)}'`)
  const { backend } = await openImage(session, {
    name,
    format,
    imageOpts,
    forceShare,
    aio,
    writable: options.readOnly !== true,
    cache,
    discard: word(options.discard, ['unmap', 'ignore'], 'discard'),
  })
  try {
    return await serveVhostUserBlk(backend, serverOptions(session.tool, socket, options))
  } catch (thrown) {
    throw failed(`Could not serve '${printable(name)}' at ${printable(socket)}`, thrown)
  }
}

function serverOptions(tool: Tool, socket: string, options: Values): VhostUserBlkOptions {
  const { numQueues, queueSize, serial, packed, verbose = false } = options
  const tell = (message: string): void => tool.err(`${tool.name}: ${printable(message)}\n`)
  return {
    socket,
    queues: numQueues,
    queueSize,
    packed,
    ...(serial === undefined ? {} : { serial }),
    discard: options.discard === 'unmap',
    secondFrontEnd: word(options.second, ['wait', 'refuse'], 'second'),
    requireSealed: options.requireSealed === true,
    inbandNotifications: options.inbandNotifications === true,
    log: tell,
    ...(verbose
      ? { trace: tell, onFrontEnd: (there: boolean) => tell(there ? 'front-end connected' : 'front-end gone') }
      : {}),
  }
}

function word<T extends string>(value: string, words: readonly T[], option: string): T {
  const found = words.find((each) => each === value)
  if (found === undefined) throw new ToolError(`--${option} must be one of ${words.join(', ')}`)
  return found
}

/** Resolves at the first signal that asks the process to end; a second one ends it at once. */
function signalled(): Promise<void> {
  return new Promise((resolve) => {
    const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const
    const done = (): void => {
      for (const signal of signals) process.off(signal, done)
      resolve()
    }
    for (const signal of signals) process.on(signal, done)
  })
}
