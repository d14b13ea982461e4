// A vhost-user-blk back-end in a process of its own, whoever's it is: started, known to listen, stopped in good order or
// killed as a crash would, and started again on the same socket.

import { type ChildProcess, spawn } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

/** What is served, and where. */
export interface BackendRequest {
  socket: string
  image: string
  format: 'raw' | 'qcow2'
  queues: number
  readOnly?: boolean
  /** What the guest sees as the disk's serial number, where the back-end lets it be chosen. */
  serial?: string
  /** Every write is on its disk when it ends, whatever the guest asks for. Ours only. */
  writeThrough?: boolean
}

/** How somebody's back-end is started. */
export interface BackendKind {
  name: string
  /** Variables of its environment, besides those of this process. */
  env?: Readonly<Record<string, string>>
  command(request: BackendRequest): string[]
}

const START_LIMIT_MS = 20_000
const STOP_LIMIT_MS = 20_000
/** The program as the compiler leaves it. */
const LAUNCHER = fileURLToPath(new URL('../../../dist/cli/programs/blockgraph.js', import.meta.url))

/** `blockgraph vhost-user-blk`. */
export const ourBackend: BackendKind = {
  name: 'blockgraph',
  command: ({ socket, image, format, queues, readOnly, serial, writeThrough }) => [
    ...[process.execPath, LAUNCHER, 'vhost-user-blk', '--socket', socket, '--num-queues', String(queues)],
    ...(serial === undefined ? [] : ['--serial', serial]),
    ...(readOnly === true ? ['-r'] : []),
    ...(writeThrough === true ? ['-t', 'writethrough'] : []),
    ...['-f', format, image],
  ],
}

/** The same on a raw image that another back-end has open, too: the two ends of a migration. */
export const ourSharingBackend: BackendKind = {
  name: 'blockgraph, sharing its image',
  command: ({ socket, image, queues }) => [
    ...[process.execPath, LAUNCHER, 'vhost-user-blk', '--socket', socket, '--num-queues', String(queues)],
    ...['--image-opts', `driver=raw,file.driver=file,file.filename=${image},file.locking=off`],
  ],
}

/** An image that is a logical unit. */
export interface ScsiImage {
  path: string
  format: 'raw' | 'qcow2'
  readOnly?: boolean
  serial: string
}

/** `blockgraph vhost-user-scsi` with these images; of a request it takes socket and queues. */
export function ourScsiBackend(images: readonly ScsiImage[]): BackendKind {
  return {
    name: 'blockgraph',
    command: ({ socket, queues }) => [
      ...[process.execPath, LAUNCHER, 'vhost-user-scsi', '--socket', socket, '--num-queues', String(queues)],
      ...images.flatMap(({ serial }) => ['--serial', serial]),
      '--image-opts',
      ...images.map(({ path, format, readOnly }) => {
        const access = readOnly === true ? ',read-only=on' : ''
        return `driver=${format}${access},file.driver=file,file.filename=${path}`
      }),
    ],
  }
}

/** The same by QEMU. */
export const storageDaemon: BackendKind = {
  name: 'qemu-storage-daemon',
  command: ({ socket, image, format, queues, readOnly }) => {
    const file = `driver=file,node-name=file,filename=${image},discard=unmap,cache.direct=off`
    const node = `driver=${format},node-name=disk,file=file,discard=unmap`
    const address = `addr.type=unix,addr.path=${socket}`
    const writable = readOnly === true ? 'off' : 'on'
    return [
      'qemu-storage-daemon',
      ...['--blockdev', readOnly === true ? `${file},read-only=on` : file],
      ...['--blockdev', readOnly === true ? `${node},read-only=on` : node],
      ...['--export', `vhost-user-blk,id=export,node-name=disk,${address},writable=${writable},num-queues=${queues}`],
    ]
  },
}

/** A back-end that listens. */
export class BackendProcess {
  readonly #kind: BackendKind
  readonly #request: BackendRequest
  #child: ChildProcess | undefined
  #said = ''

  private constructor(kind: BackendKind, request: BackendRequest) {
    this.#kind = kind
    this.#request = request
  }

  static async start(kind: BackendKind, request: BackendRequest): Promise<BackendProcess> {
    const backend = new BackendProcess(kind, request)
    await backend.restart()
    return backend
  }

  get socket(): string {
    return this.#request.socket
  }

  get pid(): number | undefined {
    return this.#child?.pid
  }

  /** What it printed, all its lives together. */
  get said(): string {
    return this.#said
  }

  /** Starts it again; it must not be running. */
  async restart(): Promise<void> {
    const [program = '', ...args] = this.#kind.command(this.#request)
    const child = spawn(program, args, {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, ...this.#kind.env },
    })
    this.#child = child
    // A test run that ends early takes its back-ends with it.
    const onExit = () => child.kill('SIGKILL')
    process.once('exit', onExit)
    child.once('close', () => process.off('exit', onExit))
    let failure: string | undefined
    child.once('error', (error) => {
      failure = error.message
    })
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding('utf8').on('data', (text: string) => {
        this.#said += text
      })
    }
    const deadline = Date.now() + START_LIMIT_MS
    while (!isListening(this.socket)) {
      if (child.exitCode !== null || child.signalCode !== null) failure ??= 'it ended'
      if (Date.now() > deadline) failure ??= `it did not listen within ${START_LIMIT_MS} ms`
      if (failure !== undefined) {
        await this.kill()
        throw new Error(`${this.#kind.name}: ${failure}\n${this.#said}`)
      }
      await pause(20)
    }
  }

  /** Ends it as a crash does. */
  async kill(): Promise<void> {
    await this.#end('SIGKILL')
  }

  /** Asks it to end, and waits; throws where it does not end by itself or ends with an error. */
  async stop(): Promise<void> {
    const child = this.#child
    if (child === undefined) return
    const timer = setTimeout(() => child.kill('SIGKILL'), STOP_LIMIT_MS)
    await this.#end('SIGTERM')
    clearTimeout(timer)
    // One that leaves the signal to its default has ended in good order too: its image tells.
    if (child.exitCode === 0 || child.signalCode === 'SIGTERM') return
    const how = child.exitCode === null ? `signal ${child.signalCode}` : `exit code ${child.exitCode}`
    throw new Error(`${this.#kind.name}: ended with ${how}\n${this.#said}`)
  }

  async #end(signal: NodeJS.Signals): Promise<void> {
    const child = this.#child
    this.#child = undefined
    if (child === undefined || child.exitCode !== null || child.signalCode !== null || child.pid === undefined) return
    const ended = new Promise((resolve) => child.once('close', resolve))
    child.kill(signal)
    await ended
  }
}

/** Whether somebody listens on the socket `path`, without connecting: the one seat is the guest's. */
function isListening(path: string): boolean {
  if (!existsSync(path)) return false
  // Num RefCount Protocol Flags Type St Inode Path; __SO_ACCEPTCON is set once listen() was called.
  return readFileSync('/proc/net/unix', 'utf8')
    .split('\n')
    .map((line) => line.trim().split(/\s+/))
    .some((fields) => fields[7] === path && (Number.parseInt(fields[3] ?? '', 16) & 0x10000) !== 0)
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms))
}
