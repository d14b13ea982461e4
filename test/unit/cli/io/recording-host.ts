// A host whose output a test reads, whose input it gives, and which only notes what would end the process.

import { setTimeout as wait } from 'node:timers/promises'
import { type IoHost, linesOf } from '../../../../src/cli/io/host.js'

export interface RecordingHost extends IoHost {
  stdout: string
  stderr: string
  /** Signals raised; 6 is what abort raises. */
  readonly raised: number[]
}

/** A host called `name` whose standard input holds `input`. */
export function recordingHost(name: string, input = ''): RecordingHost {
  const host: RecordingHost = {
    name,
    stdout: '',
    stderr: '',
    raised: [],
    out: (text) => {
      host.stdout += text
    },
    err: (text) => {
      host.stderr += text
    },
    lines: () => linesOf(pieces(input)),
    sleep: (milliseconds) => wait(milliseconds),
    abort: () => {
      host.raised.push(6)
    },
    raise: (signal) => {
      host.raised.push(signal)
    },
  }
  return host
}

/** Input comes in pieces that do not end where lines do. */
async function* pieces(input: string): AsyncGenerator<Uint8Array> {
  const bytes = new TextEncoder().encode(input)
  for (let at = 0; at < bytes.byteLength; at += 7) yield bytes.subarray(at, at + 7)
}
