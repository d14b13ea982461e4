// break, remove_break, resume, wait_break: holding requests at the events of blkdebug.

import { isSuspended, removeBreakpoint, resumeBreakpoint, setBreakpoint } from '../../../global-state/debug.js'
import type { MainLoop } from '../../../global-state/main-loop.js'
import { errnoText } from '../../error-text.js'
import { CommandFailure, type IoCommand } from '../command.js'
import type { Shell } from '../shell.js'

/** Runs `act` in the main loop; a failure is told as `<what>: <why>`. */
async function inMainLoop(shell: Shell, what: string, act: (main: MainLoop) => void): Promise<boolean> {
  try {
    await shell.session.graph.mainLoop(async (main) => act(main), 'breakpoints')
    return true
  } catch (thrown) {
    throw new CommandFailure(`${what}: ${errnoText(thrown)}`)
  }
}

export const breakCommand: IoCommand = {
  name: 'break',
  minWords: 2,
  maxWords: 2,
  usage: 'event tag',
  summary: 'sets a breakpoint on event and tags the stopped request as tag',
  run: (shell, [, event = '', tag = '']) =>
    inMainLoop(shell, 'Could not set breakpoint', (main) => setBreakpoint(main, shell.opened.node, event, tag)),
}

export const removeBreakCommand: IoCommand = {
  name: 'remove_break',
  minWords: 1,
  maxWords: 1,
  usage: 'tag',
  summary: 'remove a breakpoint by tag',
  run: (shell, [, tag = '']) =>
    inMainLoop(shell, `Could not remove breakpoint ${tag}`, (main) => removeBreakpoint(main, shell.opened.node, tag)),
}

export const resumeCommand: IoCommand = {
  name: 'resume',
  minWords: 1,
  maxWords: 1,
  usage: 'tag',
  summary: 'resumes the request tagged as tag',
  run: (shell, [, tag = '']) =>
    inMainLoop(shell, 'Could not resume request', (main) => resumeBreakpoint(main, shell.opened.node, tag)),
}

/** Milliseconds between two looks whether a request is held. */
const LOOK_EVERY = 5

export const waitBreakCommand: IoCommand = {
  name: 'wait_break',
  minWords: 1,
  maxWords: 1,
  usage: 'tag',
  summary: 'waits for the suspension of a request',
  async run(shell, [, tag = '']) {
    const { node } = shell.opened
    const what = `Could not wait for breakpoint ${tag}`
    try {
      while (!isSuspended(node, tag)) {
        // Without a request under way nothing could come there any more.
        if (shell.aio.count === 0) throw new CommandFailure(`${what}: No request is under way`)
        await Promise.race([shell.aio.next(), shell.host.sleep(LOOK_EVERY)])
      }
    } catch (thrown) {
      if (thrown instanceof CommandFailure) throw thrown
      throw new CommandFailure(`${what}: ${errnoText(thrown)}`)
    }
    return true
  },
}
