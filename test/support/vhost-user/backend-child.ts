// `blockgraph vhost-user-blk` in a process of its own, to be killed and started again.

import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'

/** The program as the compiler leaves it: what is in bin/ is made of it by a further step. */
export const LAUNCHER = fileURLToPath(new URL('../../../dist/cli/programs/blockgraph.js', import.meta.url))

const running = new Set<BackendChild>()

/** The process. It ends with the run of tests that started it. */
export class BackendChild {
  /** What it said on standard output and standard error. */
  said = ''
  private readonly child: ChildProcess

  private constructor(child: ChildProcess) {
    this.child = child
    const kill = () => child.kill('SIGKILL')
    running.add(this)
    process.once('exit', kill)
    child.once('close', () => {
      running.delete(this)
      process.off('exit', kill)
    })
    child.stdout?.on('data', (text) => {
      this.said += String(text)
    })
    child.stderr?.on('data', (text) => {
      this.said += String(text)
    })
  }

  /** Starts it and waits until it listens. */
  static async start(args: readonly string[]): Promise<BackendChild> {
    const backend = new BackendChild(spawn(process.execPath, [LAUNCHER, 'vhost-user-blk', ...args]))
    while (!backend.said.includes('\n')) {
      if (backend.child.exitCode !== null) throw new Error(backend.said)
      await Promise.race([once(backend.child.stdout as NodeJS.ReadableStream, 'data'), once(backend.child, 'close')])
    }
    return backend
  }

  /** Ends those that a test has left behind, as one does that fails half way. */
  static async endAll(): Promise<void> {
    for (const backend of [...running]) await backend.end('SIGKILL')
  }

  get pid(): number {
    return this.child.pid as number
  }

  /** Ends it by `signal`; its exit code, or null where the signal ended it. */
  async end(signal: NodeJS.Signals): Promise<number | null> {
    const closed = once(this.child, 'close')
    this.child.kill(signal)
    const [code] = (await closed) as [number | null]
    return code
  }
}
