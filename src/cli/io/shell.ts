// The tool's state while it runs commands, and how a command line becomes a command: split at spaces, looked up, checked for
// the number of words, an open image and permissions, then run.

import type { Permissions } from '../../common/permissions.js'
import { GetoptError } from '../getopt.js'
import type { OpenImage, Session } from '../session.js'
import { printable, printError, ToolError } from '../tool.js'
import { AioRequests } from './aio.js'
import { CommandFailure, findCommand, HostFailure, type IoCommand, UsageFailure, usageLine } from './command.js'
import type { IoHost } from './host.js'

/** What the command line of the tool says for all commands. */
export interface ShellSettings {
  /** Images are named by lists of options. */
  imageOpts: boolean
  /** Buffers are misaligned on purpose. */
  misaligned: boolean
}

/** As many commands are a script, not a question. */
const MANY_COMMANDS = 256

/** The state of a running tool. */
export class Shell {
  readonly host: IoHost
  readonly session: Session
  readonly commands: readonly IoCommand[]
  readonly settings: ShellSettings
  readonly aio = new AioRequests()
  /** The image that commands work on. */
  image: OpenImage | undefined
  /** A command has failed. */
  failed = false
  /** The user wants to leave. */
  ended = false
  #executed = 0

  constructor(host: IoHost, session: Session, commands: readonly IoCommand[], settings: ShellSettings) {
    this.host = host
    this.session = session
    this.commands = commands
    this.settings = settings
    session.graph.trace.listen((name, event) => {
      if (name !== 'request-suspended' && name !== 'request-resumed') return
      const { tag } = event as { tag: string }
      host.out(`blkdebug: ${name === 'request-suspended' ? 'Suspended' : 'Resuming'} request '${printable(tag)}'\n`)
    })
  }

  /** The open image; commands that are not global run only with one. */
  get opened(): OpenImage {
    if (this.image === undefined) throw new CommandFailure("no file open, try 'help open'")
    return this.image
  }

  /** Milliseconds, for differences. */
  now(): number {
    return this.session.graph.environment.clock.now()
  }

  warn(message: string): void {
    this.host.err(`${this.host.name}: warning: ${printable(message)}\n`)
  }

  /** A buffer of `bytes` bytes, filled with `fill`. ENOMEM where there is no room for it. */
  buffer(bytes: number, fill: number): Uint8Array {
    const shift = this.settings.misaligned ? MISALIGNMENT : 0
    try {
      return new Uint8Array(bytes + shift).fill(fill).subarray(shift)
    } catch {
      throw new CommandFailure(`no memory for ${bytes} bytes`)
    }
  }

  /** Asks for permissions that the image is not used with yet. */
  async gain(wanted: Permissions): Promise<void> {
    const { node, backend } = this.opened
    if (node.readOnly) throw new ToolError('Block node is read-only')
    const { perm, shared } = backend.permissions
    if ((perm & wanted) === wanted) return
    await this.session.graph.mainLoop(
      (main) => backend.setPermissions(main, perm | wanted, shared),
      'asking for permissions',
    )
  }

  /** Runs a command line. */
  async execute(line: string): Promise<void> {
    const words = line.split(' ').filter((word) => word !== '')
    const [name] = words
    if (name === undefined) return
    const command = findCommand(this.commands, name)
    if (command === undefined) return this.#complain(`command "${name}" not found`)
    if (++this.#executed === MANY_COMMANDS) this.host.expectWork?.(Number.MAX_SAFE_INTEGER)
    const refused = this.#refusal(command, name, words.length - 1)
    if (refused !== undefined) return this.#complain(refused)
    try {
      if (command.needs !== undefined) await this.gain(command.needs)
      if (!(await command.run(this, words))) this.failed = true
    } catch (thrown) {
      await this.#report(command, name, thrown)
    }
  }

  #refusal(command: IoCommand, name: string, count: number): string | undefined {
    if (command.global !== true && this.image === undefined) return "no file open, try 'help open'"
    const { minWords, maxWords } = command
    if (count >= minWords && count <= maxWords) return undefined
    const expected =
      maxWords === Number.POSITIVE_INFINITY
        ? `at least ${minWords}`
        : minWords === maxWords
          ? String(minWords)
          : `between ${minWords} and ${maxWords}`
    return `bad argument count ${count} to ${name}, expected ${expected} arguments`
  }

  #complain(message: string): void {
    this.failed = true
    this.host.err(`${printable(message)}\n`)
  }

  async #report(command: IoCommand, name: string, thrown: unknown): Promise<void> {
    this.failed = true
    if (thrown instanceof CommandFailure) return this.host.out(`${printable(thrown.message)}\n`)
    if (thrown instanceof HostFailure) return this.host.err(`${printable(thrown.message)}\n`)
    if (thrown instanceof GetoptError) this.host.err(`${printable(`${name}: ${thrown.message}`)}\n`)
    if (thrown instanceof GetoptError || thrown instanceof UsageFailure) return this.host.out(`${usageLine(command)}\n`)
    if (thrown instanceof ToolError) return printError(this.host, thrown)
    const { messageText } = await import('../error-text.js')
    printError(this.host, new ToolError(messageText(thrown)))
  }
}

/** Bytes by which `-m` moves buffers away from where direct I/O wants them. */
const MISALIGNMENT = 16
