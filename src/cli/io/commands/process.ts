// Commands about the tool and its process: help, quit, sleep, abort, sigraise.

import { CommandFailure, findCommand, type IoCommand, usageLine } from '../command.js'
import { byteCount, signedNumber } from '../numbers.js'
import type { Shell } from '../shell.js'

export const helpCommand: IoCommand = {
  name: 'help',
  alias: '?',
  minWords: 0,
  maxWords: 1,
  usage: '[command]',
  summary: 'help for one or all commands',
  global: true,
  run(shell, [, name]) {
    if (name === undefined) {
      const lines = shell.commands.map((command) => usageLine(command))
      shell.host.out([...lines, '', "Use 'help commandname' for extended help.", ''].join('\n'))
      return true
    }
    const command = findCommand(shell.commands, name)
    if (command === undefined) throw new CommandFailure(`command ${name} not found`)
    shell.host.out(`${usageLine(command, name)}\n${command.help ?? ''}`)
    return true
  },
}

export const quitCommand: IoCommand = {
  name: 'quit',
  alias: 'q',
  minWords: 0,
  maxWords: Number.POSITIVE_INFINITY,
  summary: 'exit the program',
  global: true,
  run(shell) {
    shell.ended = true
    return true
  },
}

/** Times beyond this many milliseconds do not fit the field's clocks, which then do not wait. */
const LONGEST_SLEEP = 2n ** 63n / 1_000_000n

export const sleepCommand: IoCommand = {
  name: 'sleep',
  minWords: 1,
  maxWords: 1,
  summary: 'waits for the given value in milliseconds',
  global: true,
  async run(shell, [, text = '']) {
    const time = signedNumber(text)
    if (time === undefined || time < 0n) throw new CommandFailure(`${text} is not a valid number`)
    if (time <= LONGEST_SLEEP) await sleepTelling(shell, Number(time))
    return true
  },
}

/** Tells of requests as they end meanwhile. */
async function sleepTelling(shell: Shell, milliseconds: number): Promise<void> {
  const until = shell.now() + milliseconds
  const slept = shell.host.sleep(milliseconds)
  while (shell.aio.count > 0 && shell.now() < until) await Promise.race([slept, shell.aio.next()])
  await slept
  shell.aio.deliver()
}

export const abortCommand: IoCommand = {
  name: 'abort',
  minWords: 0,
  maxWords: 0,
  summary: 'simulate a program crash using abort(3)',
  global: true,
  run(shell) {
    shell.host.abort()
    return true
  },
}

/** The largest number taken for a signal. */
const NSIG = 65

export const sigraiseCommand: IoCommand = {
  name: 'sigraise',
  minWords: 1,
  maxWords: 1,
  usage: 'signal',
  summary: 'raises a signal',
  global: true,
  help: `
 Sends the signal of that number to the tool itself.

 sigraise 15     sends SIGTERM

`,
  run(shell, [, text = '']) {
    const signal = byteCount(shell, text)
    if (signal > NSIG) throw new CommandFailure(`signal argument '${text}' is too large to be a valid signal`)
    shell.host.raise(signal)
    return true
  },
}
