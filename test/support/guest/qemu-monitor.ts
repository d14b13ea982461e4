// Commands to a QEMU that runs (QEMU, docs/interop/qmp-spec): a line of JSON each way. Events are passed over.

import { connect, type Socket } from 'node:net'

const CONNECT_LIMIT_MS = 10_000
const ANSWER_LIMIT_MS = 30_000

interface Answer {
  return?: unknown
  error?: { class: string; desc: string }
  event?: string
  QMP?: unknown
}

/** A connection to a monitor. */
export class QemuMonitor {
  readonly #socket: Socket
  #text = ''
  #wake: () => void = () => {}
  #ended = false

  private constructor(socket: Socket) {
    this.#socket = socket
    socket.setEncoding('utf8').on('data', (text: string) => {
      this.#text += text
      this.#wake()
    })
    const end = () => {
      this.#ended = true
      this.#wake()
    }
    socket.on('close', end).on('error', end)
  }

  /** Connects to the monitor at `path`, which may have yet to come. */
  static async connect(path: string): Promise<QemuMonitor> {
    const deadline = Date.now() + CONNECT_LIMIT_MS
    for (;;) {
      const socket = connect(path)
      const failure = await new Promise<Error | undefined>((resolve) => {
        socket.once('connect', () => resolve(undefined)).once('error', resolve)
      })
      if (failure === undefined) {
        const monitor = new QemuMonitor(socket)
        await monitor.#next()
        await monitor.execute('qmp_capabilities')
        return monitor
      }
      if (Date.now() > deadline) throw failure
      await new Promise((resolve) => setTimeout(resolve, 50))
    }
  }

  /** Carries out a command; what it returns. Throws with QEMU's words where it fails. */
  async execute(command: string, args: Record<string, unknown> = {}): Promise<unknown> {
    this.#socket.write(`${JSON.stringify({ execute: command, arguments: args })}\n`)
    for (;;) {
      const answer = await this.#next()
      if (answer.event !== undefined) continue
      if (answer.error !== undefined) throw new Error(`QEMU: ${command}: ${answer.error.desc}`)
      return answer.return
    }
  }

  close(): void {
    this.#socket.destroy()
  }

  async #next(): Promise<Answer> {
    const deadline = Date.now() + ANSWER_LIMIT_MS
    for (;;) {
      const end = this.#text.indexOf('\n')
      if (end >= 0) {
        const line = this.#text.slice(0, end)
        this.#text = this.#text.slice(end + 1)
        return JSON.parse(line) as Answer
      }
      const left = deadline - Date.now()
      if (this.#ended || left <= 0) throw new Error('QEMU: its monitor does not answer')
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, left)
        this.#wake = () => {
          clearTimeout(timer)
          resolve()
        }
      })
    }
  }
}
