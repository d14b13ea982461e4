// What a command of the tool is: its names, what may follow it, and what it does.

import type { Permissions } from '../../common/permissions.js'
import type { Shell } from './shell.js'

/** A command. */
export interface IoCommand {
  readonly name: string
  readonly alias?: string
  /** Words that may follow it, options included. */
  readonly minWords: number
  /** Infinity: any number. */
  readonly maxWords: number
  /** What may follow it, for people. */
  readonly usage?: string
  /** What it does, in one line. */
  readonly summary: string
  /** The rest of its help, without a line feed at the end. */
  readonly help?: string
  /** Runs without an open image. */
  readonly global?: boolean
  /** Permissions the image is asked for before it runs. */
  readonly needs?: Permissions
  /** Gives false where it failed and has said so. `words` begins with the name as it was typed. */
  run(shell: Shell, words: readonly string[]): Promise<boolean> | boolean
}

/** Ends a command: the message is its output, on standard output, and it counts as failed. */
export class CommandFailure extends Error {}

/** As {@link CommandFailure}, on standard error: something of the host is not as it was said to be. */
export class HostFailure extends Error {}

/** Ends a command that was not used as its usage says: that is printed. */
export class UsageFailure extends Error {}

/** The command of that name or alias. */
export function findCommand(commands: readonly IoCommand[], name: string): IoCommand | undefined {
  return commands.find((command) => command.name === name || command.alias === name)
}

/** One line of help: `name usage -- summary`. */
export function usageLine(command: IoCommand, name: string = command.name): string {
  const usage = command.usage === undefined ? '' : ` ${command.usage}`
  return `${name}${usage} -- ${command.summary}`
}
