// A shell over a graph of its own, with an image that holds nothing.

import { COMMANDS } from '../../../../src/cli/io/commands.js'
import { Shell, type ShellSettings } from '../../../../src/cli/io/shell.js'
import { withSession } from '../../../../src/cli/session.js'
import { type RecordingHost, recordingHost } from './recording-host.js'

/** Runs `act` with a shell; everything is closed afterwards. */
export function withShell<T>(
  act: (shell: Shell, host: RecordingHost) => Promise<T>,
  settings: Partial<ShellSettings> = {},
): Promise<T> {
  const host = recordingHost('tool')
  return withSession(host, (session) =>
    act(new Shell(host, session, COMMANDS, { imageOpts: false, misaligned: false, ...settings }), host),
  )
}
