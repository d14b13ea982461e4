// What the commands that serve devices at a vhost-user socket have in common: their options, images and end.

import type { Command } from 'commander'
import type { RingOffer } from '../devices/virtio/core/ring-features.js'
import type { BlockBackend } from '../global-state/backend.js'
import type { VhostUserOptions } from '../platform/vhost-user/serve-device.js'
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

/** Values of the options that all of them have. */
export interface VhostUserValues extends ImageOptionValues {
  socket?: string
  socketPath?: string
  numQueues: number
  queueSize: number
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

/** How a device is served, as far as every kind has it. */
export interface ServingOptions extends VhostUserOptions, Pick<RingOffer, 'packed'> {
  queues: number
  queueSize: number
}

/** A command that serves images. */
export interface VhostUserCommand<V extends VhostUserValues> {
  readonly command: Command
  /** What management programs ask for (vhost-user.rst, Backend program conventions). */
  readonly capabilities: object
  /** Throws where the device cannot have so many images. */
  checkNames(names: readonly string[]): void
  /** Serves what the images hold, in the order of their names. */
  serve(backends: readonly BlockBackend[], serving: ServingOptions, options: V): Promise<{ close(): Promise<void> }>
}

/** A command with the options that all of them have; `aio` is how requests reach the host unless the user says. */
export function vhostUserCommand(name: string, aio: 'inline' | 'threads'): Command {
  return newCommand(name)
    .option('-s, --socket <path>')
    .option('--socket-path <path>')
    .option('--num-queues <count>', '', count('--num-queues', 1, 64), 1)
    .option('--queue-size <entries>', '', count('--queue-size', 2, 32768), 256)
    .addOption(formatOption())
    .addOption(imageOptsOption())
    .addOption(repeatedOption('--object <def>'))
    .addOption(forceShareOption())
    .option('-r, --read-only')
    .option('-t, --cache <mode>', '', 'writeback')
    .option('-i, --aio <mode>', '', aioMode, aio)
    .option('-d, --discard <mode>', '', 'unmap')
    .option('--no-packed')
    .option('--second <policy>', '', 'wait')
    .option('--require-sealed')
    .option('--inband-notifications')
    .option('-v, --verbose')
    .option('--print-capabilities')
}

/** Runs such a command; `end` resolves when it is to stop. */
export async function runVhostUser<V extends VhostUserValues>(
  tool: Tool,
  args: readonly string[],
  { command, capabilities, checkNames, serve }: VhostUserCommand<V>,
  end: () => Promise<void>,
): Promise<number> {
  const { options, operands } = parseCommandLine<V>(tool, command, args)
  if (options.printCapabilities === true) {
    tool.out(`${JSON.stringify(capabilities, undefined, 2)}\n`)
    return 0
  }
  const socket = options.socket ?? options.socketPath
  if (socket === undefined) throw usageError(tool.name, `${command.name()}: --socket is missing`)
  checkNames(operands)
  refuseFormatWithImageOpts(options.format, options.imageOpts)
  const secrets = checkObjects(options.object)
  return withSession(tool, async (session) => {
    session.defineSecrets(secrets)
    const backends: BlockBackend[] = []
    for (const name of operands) backends.push(await openServed(session, name, options))
    const images = operands.map((name) => `'${printable(name)}'`).join(', ')
    const server = await serve(backends, servingOptions(tool, socket, options), options).catch((thrown: unknown) => {
      throw failed(`Could not serve ${images} at ${printable(socket)}`, thrown)
    })
    const stopped = end()
    tool.out(`serving ${images} at ${printable(socket)}\n`)
    await stopped
    await server.close()
    return 0
  })
}

async function openServed(session: Session, name: string, options: VhostUserValues): Promise<BlockBackend> {
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
    mayBeReadOnly: true,
    cache,
    discard: word(options.discard, ['unmap', 'ignore'], 'discard'),
  })
  return backend
}

function servingOptions(tool: Tool, socket: string, options: VhostUserValues): ServingOptions {
  const { numQueues, queueSize, packed, verbose = false } = options
  const tell = (message: string): void => tool.err(`${tool.name}: ${printable(message)}\n`)
  return {
    socket,
    queues: numQueues,
    queueSize,
    packed,
    secondFrontEnd: word(options.second, ['wait', 'refuse'], 'second'),
    requireSealed: options.requireSealed === true,
    inbandNotifications: options.inbandNotifications === true,
    log: tell,
    ...(verbose
      ? { trace: tell, onFrontEnd: (there: boolean) => tell(there ? 'front-end connected' : 'front-end gone') }
      : {}),
  }
}

function count(what: string, min: number, max: number) {
  return (text: string): number => {
    const value = countArgument(text, min, max)
    if (value === undefined) throw new ToolError(`${what} must be ${min} to ${max}`)
    return value
  }
}

function word<T extends string>(value: string, words: readonly T[], option: string): T {
  const found = words.find((each) => each === value)
  if (found === undefined) throw new ToolError(`--${option} must be one of ${words.join(', ')}`)
  return found
}

/** Resolves at the first signal that asks the process to end; a second one ends it at once. */
export function signalled(): Promise<void> {
  return new Promise((resolve) => {
    const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const
    const done = (): void => {
      for (const signal of signals) process.off(signal, done)
      resolve()
    }
    for (const signal of signals) process.on(signal, done)
  })
}
