// What the tool needs of the process around it besides streams: lines to read, time to pass, signals to raise. Tests hand
// in their own.

import { setTimeout as wait } from 'node:timers/promises'
import { processTool } from '../process-tool.js'
import type { Tool } from '../tool.js'

/** The process around the tool. */
export interface IoHost extends Tool {
  /** The lines of standard input, without their ends. */
  lines(): AsyncIterable<string>
  sleep(milliseconds: number): Promise<void>
  /** Ends the process as a crash would. */
  abort(): void
  /** Sends a signal to the process; a number that is no signal does nothing. */
  raise(signal: number): void
}

/** Longest time a timer takes, in milliseconds. */
const TIMER_MAX = 2 ** 31 - 1

/**
 * Signals that end the process in the tool's field only if something is broken, or not at all: bus error, pipe, alarm, I/O
 * and the two of the C library. SIGUSR1 would start the debugger of Node.
 */
const IGNORED_SIGNALS = new Set([7, 10, 13, 14, 29, 32, 33])

/** This process. */
export function processHost(name: string): IoHost {
  return {
    ...processTool(name),
    lines: () => linesOf(process.stdin),
    async sleep(milliseconds) {
      for (let left = milliseconds; left > 0; left -= TIMER_MAX) await wait(Math.min(left, TIMER_MAX))
    },
    abort: () => raiseSignal(6),
    raise: raiseSignal,
  }
}

/**
 * Runs `act`. Where it waits for what cannot come any more (a suspended request that nobody is left to resume) the process
 * ends with a message instead of silently.
 */
export async function orDeadlock<T>(host: IoHost, act: () => Promise<T>): Promise<T> {
  const idle = () => {
    host.err(`${host.name}: requests are suspended, and nothing is left that would resume them\n`)
    process.exit(1)
  }
  process.once('beforeExit', idle)
  try {
    return await act()
  } finally {
    process.off('beforeExit', idle)
  }
}

function raiseSignal(signal: number): void {
  if (IGNORED_SIGNALS.has(signal)) return
  try {
    process.kill(process.pid, signal)
  } catch {
    // No such signal.
  }
}

/** The lines of `input`; the last one may lack its line feed. */
export async function* linesOf(input: AsyncIterable<Uint8Array>): AsyncGenerator<string> {
  const decoder = new TextDecoder()
  let rest = ''
  for await (const chunk of input) {
    const lines = (rest + decoder.decode(chunk, { stream: true })).split('\n')
    rest = lines.pop() ?? ''
    yield* lines
  }
  rest += decoder.decode()
  if (rest !== '') yield rest
}
