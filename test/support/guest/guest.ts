// A guest that runs: commands go in by its console, one at a time, and what they print comes back. Everything has a
// deadline; whoever starts a guest ends it, and then no process of it is left.

import type { ChildProcess } from 'node:child_process'
import { END_MARK, READY_MARK } from './init-script.js'

/** How a command of a guest ended. */
export interface GuestRun {
  status: number
  output: string
}

const COMMAND_LIMIT_MS = 60_000
const BOOT_LIMIT_MS = 120_000
/** Of a command line: what a terminal takes as one line. */
const LINE_LIMIT = 4000

/** A booted guest. */
export class Guest {
  readonly #process: ChildProcess
  /** Everything the console ever said. */
  #console = ''
  /** Where in it the answer to the present command begins. */
  #answer = 0
  #wake: () => void = () => {}
  #ended: Promise<void>
  #running = true

  private constructor(child: ChildProcess) {
    this.#process = child
    for (const stream of [child.stdout, child.stderr]) {
      stream?.setEncoding('utf8').on('data', (text: string) => {
        this.#console += text
        this.#wake()
      })
    }
    // A guest that has gone tells by its end, not by a broken pipe.
    child.stdin?.on('error', () => {})
    // A test run that ends early takes its guests with it.
    const onExit = () => this.killNow()
    process.once('exit', onExit)
    this.#ended = new Promise((resolve) => {
      const end = () => {
        process.off('exit', onExit)
        this.#running = false
        this.#wake()
        resolve()
      }
      child.once('close', end)
      child.once('error', end)
    })
  }

  /** Waits until `child`, whose standard input and output are its console, reads commands. */
  static async boot(child: ChildProcess, limitMs = BOOT_LIMIT_MS): Promise<Guest> {
    const guest = new Guest(child)
    try {
      await guest.#until(new RegExp(`${READY_MARK}\\r?\\n`), limitMs, 'boot')
      return guest
    } catch (error) {
      await guest.kill()
      throw error
    }
  }

  /** Takes over a guest that comes from elsewhere and reads commands already. */
  static adopt(child: ChildProcess): Guest {
    return new Guest(child)
  }

  /** Runs `command`, one line of shell, to its end. */
  async run(command: string, limitMs = COMMAND_LIMIT_MS): Promise<GuestRun> {
    if (command.length > LINE_LIMIT || command.includes('\n')) throw new Error(`not one line: ${command}`)
    this.#answer = this.#console.length
    this.#process.stdin?.write(`${command}\n`)
    const end = await this.#until(new RegExp(`\\n${END_MARK} (\\d+)\\n`), limitMs, command)
    const output = this.#console.slice(this.#answer, end.index)
    return { status: Number(end[1]), output }
  }

  /** As `run`, and throws with what it said unless it exits with 0. Returns what it printed, without a final newline. */
  async check(command: string, limitMs = COMMAND_LIMIT_MS): Promise<string> {
    const { status, output } = await this.run(command, limitMs)
    if (status !== 0) throw new Error(`guest: ${command}: exit code ${status}\n${output}`)
    return output.replace(/\n$/, '')
  }

  /** Switches the guest off and waits until it has gone. */
  async powerOff(): Promise<void> {
    this.#process.stdin?.write('sync; poweroff -f\n')
    const gone = await this.#endsWithin(COMMAND_LIMIT_MS)
    await this.kill()
    if (!gone) throw new Error(`guest: did not switch itself off\n${this.#tail()}`)
  }

  /** Ends its processes at once, wherever they stand. */
  async kill(): Promise<void> {
    this.killNow()
    await this.#ended
  }

  /** As `kill`, for who cannot wait. */
  killNow(): void {
    // The group, since user-mode Linux has a process for each address space of the guest.
    if (this.#process.pid !== undefined) killGroup(this.#process.pid)
  }

  /** The first match behind the beginning of the present answer. */
  async #until(pattern: RegExp, limitMs: number, what: string): Promise<RegExpExecArray> {
    const deadline = Date.now() + limitMs
    for (;;) {
      const found = pattern.exec(this.#console.slice(this.#answer))
      if (found !== null) return Object.assign(found, { index: found.index + this.#answer })
      const left = deadline - Date.now()
      if (!this.#running) throw new Error(`guest: ended during: ${what}\n${this.#tail()}`)
      if (left <= 0) throw new Error(`guest: no answer within ${limitMs} ms: ${what}\n${this.#tail()}`)
      await this.#somethingNew(left)
    }
  }

  #somethingNew(limitMs: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, limitMs)
      this.#wake = () => {
        clearTimeout(timer)
        resolve()
      }
    })
  }

  async #endsWithin(limitMs: number): Promise<boolean> {
    const deadline = Date.now() + limitMs
    while (this.#running && Date.now() < deadline) await this.#somethingNew(deadline - Date.now())
    return !this.#running
  }

  #tail(): string {
    return this.#console.slice(-4000)
  }
}

/** Kills the process group of `pid`, if it still is there. */
function killGroup(pid: number): void {
  try {
    process.kill(-pid, 'SIGKILL')
  } catch {
    // Gone already.
  }
}
