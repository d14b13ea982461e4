// blockgraph-io: issues single requests to an image, with the command lines, commands, output and exit codes of qemu-io
// 7.2. Commands come from the command line or, a line each, from standard input.

import { GetoptError, getopt, type OptionTable } from '../getopt.js'
import { readObjects } from '../objects.js'
import { exitCodeOf } from '../process-tool.js'
import { withSession } from '../session.js'
import { printable, ToolError } from '../tool.js'
import { versionText } from '../version.js'
import { COMMANDS } from './commands.js'
import { type IoHost, orDeadlock, processHost } from './host.js'
import {
  defaultImageFlags,
  IMAGE_LETTERS,
  type ImageFlags,
  openForCommands,
  optionList,
  takeImageFlag,
} from './image-flags.js'
import { Shell, type ShellSettings } from './shell.js'
import { usageText } from './usage.js'

const NAME = 'blockgraph-io'

const TABLE: OptionTable = {
  short: `hVc:f:mT:${IMAGE_LETTERS}`,
  long: [
    { name: 'help', option: 'h' },
    { name: 'version', option: 'V' },
    { name: 'cmd', option: 'c', hasArgument: true },
    { name: 'format', option: 'f', hasArgument: true },
    { name: 'read-only', option: 'r' },
    { name: 'snapshot', option: 's' },
    { name: 'nocache', option: 'n' },
    { name: 'copy-on-read', option: 'C' },
    { name: 'misalign', option: 'm' },
    { name: 'native-aio', option: 'k' },
    { name: 'aio', option: 'i', hasArgument: true },
    { name: 'discard', option: 'd', hasArgument: true },
    { name: 'cache', option: 't', hasArgument: true },
    { name: 'trace', option: 'T', hasArgument: true },
    { name: 'force-share', option: 'U' },
    { name: 'object', option: 'object', hasArgument: true },
    { name: 'image-opts', option: 'image-opts' },
  ],
}

/** What a command line says. */
interface Plan {
  flags: ImageFlags
  settings: ShellSettings
  commands: string[]
  objects: string[]
  format: string | undefined
  name: string | undefined
  /** More operands than the one image. */
  extra: boolean
}

/** Runs the tool with `args` and gives the exit code. */
export function main(args: readonly string[], host: IoHost = processHost(NAME)): Promise<number> {
  return orDeadlock(host, () => exitCodeOf(host, () => run(host, args)))
}

async function run(host: IoHost, args: readonly string[]): Promise<number> {
  let plan: Plan | undefined
  try {
    plan = readPlan(host, args)
  } catch (thrown) {
    if (!(thrown instanceof GetoptError)) throw thrown
    host.err(`${host.name}: ${printable(thrown.message)}\n`)
    host.out(usageText(host.name))
    return 1
  }
  if (plan === undefined) return 0
  const { flags, settings, commands, name, extra } = plan
  if (extra) {
    host.out(usageText(host.name))
    return 1
  }
  if (settings.imageOpts && plan.format !== undefined) {
    throw new ToolError('--image-opts and -f are mutually exclusive')
  }
  const secrets = readObjects(plan.objects)
  return withSession(host, async (session) => {
    session.defineSecrets(secrets)
    const shell = new Shell(host, session, COMMANDS, settings)
    if (name !== undefined) await openNamed(shell, flags, name, plan.format)
    if (commands.length > 0) await runAll(shell, commands)
    else await runLines(shell)
    await shell.aio.flush()
    await closeAll(shell)
    return shell.failed ? 1 : 0
  })
}

/** An image that cannot be closed well has lost data: that is told unless a command has failed, and has said why. */
async function closeAll({ session, failed }: Shell): Promise<void> {
  try {
    await session.close()
  } catch (thrown) {
    if (!failed) throw thrown
  }
}

/** Reads the command line; undefined where it asked for nothing but a text, which is printed. */
function readPlan(host: IoHost, args: readonly string[]): Plan | undefined {
  const flags = defaultImageFlags()
  const settings = { imageOpts: false, misaligned: false }
  const commands: string[] = []
  const objects: string[] = []
  let format: string | undefined
  let answered = false
  const operands = getopt(args, TABLE, (option, argument) => {
    if (takeImageFlag(flags, option, argument)) return true
    if (option === 'h' || option === 'V') {
      host.out(option === 'h' ? usageText(host.name) : versionText(host.name))
      answered = true
    } else if (option === 'c') commands.push(argument)
    else if (option === 'f') format = argument
    else if (option === 'm') settings.misaligned = true
    else if (option === 'object') objects.push(argument)
    else if (option === 'image-opts') settings.imageOpts = true
    return !answered
  })
  if (answered) return undefined
  const [name, ...others] = operands
  return { flags, settings, commands, objects, format, name, extra: others.length > 0 }
}

function openNamed(shell: Shell, flags: ImageFlags, name: string, format: string | undefined): Promise<void> {
  if (shell.settings.imageOpts) return openForCommands(shell, flags, undefined, optionList(shell, name))
  return openForCommands(shell, flags, name, format === undefined ? {} : { driver: format })
}

async function runAll(shell: Shell, commands: readonly string[]): Promise<void> {
  for (const command of commands) {
    if (shell.ended) return
    await shell.execute(command)
  }
}

/** Runs the lines of standard input, each behind a prompt. */
async function runLines(shell: Shell): Promise<void> {
  const prompt = () => {
    shell.aio.deliver()
    shell.host.out(`${shell.host.name}> `)
  }
  prompt()
  for await (const line of shell.host.lines()) {
    // What follows a NUL is not looked at.
    await shell.execute(line.split('\0')[0] ?? '')
    if (shell.ended) return
    prompt()
  }
}
