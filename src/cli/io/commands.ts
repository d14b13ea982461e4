// The table of commands.

import type { IoCommand } from './command.js'
import { breakCommand, removeBreakCommand, resumeCommand, waitBreakCommand } from './commands/breakpoints.js'
import { discardCommand } from './commands/discard.js'
import { aioFlushCommand, flushCommand } from './commands/flush.js'
import { infoCommand, lengthCommand } from './commands/info.js'
import { closeCommand, openCommand } from './commands/open.js'
import { abortCommand, helpCommand, quitCommand, sigraiseCommand, sleepCommand } from './commands/process.js'
import { aioReadCommand, readCommand, readvCommand } from './commands/read.js'
import { reopenCommand } from './commands/reopen.js'
import { allocCommand, mapCommand } from './commands/status.js'
import { truncateCommand } from './commands/truncate.js'
import { aioWriteCommand, writeCommand, writevCommand } from './commands/write.js'

/** Every command, by name. */
export const COMMANDS: readonly IoCommand[] = [
  abortCommand,
  aioFlushCommand,
  aioReadCommand,
  aioWriteCommand,
  allocCommand,
  breakCommand,
  closeCommand,
  discardCommand,
  flushCommand,
  helpCommand,
  infoCommand,
  lengthCommand,
  mapCommand,
  openCommand,
  quitCommand,
  readCommand,
  readvCommand,
  removeBreakCommand,
  reopenCommand,
  resumeCommand,
  sigraiseCommand,
  sleepCommand,
  truncateCommand,
  waitBreakCommand,
  writeCommand,
  writevCommand,
]
