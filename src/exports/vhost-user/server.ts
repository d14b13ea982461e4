// Serves a device to front-ends that connect to a socket, one after the other: a device has one driver. A second front-end
// waits until the first is gone, or is sent away.

import { hostClock } from '../../common/clock.js'
import { toBlockError } from '../../common/error.js'
import type { HostIpc, Watch } from '../../common/host-ipc.js'
import type { BackendDevice, DeviceListener } from './backend-device.js'
import { type ConnectionEnvironment, type ConnectionOptions, VhostUserConnection } from './connection.js'

/** How a socket is served; all have defaults. */
export interface VhostUserServerOptions extends Partial<ConnectionOptions> {
  /** What happens to a front-end while another is there: it waits (the default), or is sent away. */
  secondFrontEnd?: 'wait' | 'refuse'
  /** Told what front-ends do wrong. */
  log?(message: string): void
  /** Told of every message. */
  trace?(message: string): void
  /** Told when one comes, and when it is gone. */
  onFrontEnd?(connected: boolean): void
  clock?: ConnectionEnvironment['clock']
}

/** A socket that is served. */
export class VhostUserServer implements DeviceListener {
  private readonly environment: ConnectionEnvironment
  private readonly refuses: boolean
  private readonly onFrontEnd: (connected: boolean) => void
  private readonly listener: number
  private watch: Watch | undefined
  private current: VhostUserConnection | undefined
  private ended: Promise<void> = Promise.resolve()
  private closed = false

  /** Owns `listener`. The device's notifications are to be given to this object. */
  constructor(ipc: HostIpc, device: BackendDevice, listener: number, options: VhostUserServerOptions = {}) {
    const { secondFrontEnd = 'wait', log = () => {}, onFrontEnd = () => {}, clock = hostClock } = options
    const { trace } = options
    this.environment = {
      ipc,
      device,
      clock,
      options: connectionOptions(options),
      log: undisturbed(log),
      ...(trace && { trace: undisturbed(trace) }),
    }
    this.onFrontEnd = undisturbed(onFrontEnd)
    this.refuses = secondFrontEnd === 'refuse'
    this.listener = listener
    this.listen()
  }

  /** Whether a front-end is connected. */
  get connected(): boolean {
    return this.current !== undefined
  }

  notifyQueue(index: number): void {
    this.current?.notifyQueue(index)
  }

  notifyConfig(): void {
    this.current?.notifyConfig()
  }

  /** Serves a socket that is connected already, as one that was accepted. Done when the front-end is gone. */
  async serve(fd: number): Promise<void> {
    const connection = new VhostUserConnection(this.environment, fd)
    this.current = connection
    this.onFrontEnd(true)
    await connection.run()
    this.current = undefined
    this.onFrontEnd(false)
  }

  /** Stops listening and ends the connection there is; done when its requests have ended and all is closed. */
  async close(): Promise<void> {
    if (!this.closed) {
      this.closed = true
      this.watch?.close()
      this.environment.ipc.close(this.listener)
    }
    this.current?.close()
    await this.ended
  }

  private listen(): void {
    this.watch ??= this.environment.ipc.watch(this.listener, 'readable', () => this.accept())
  }

  private accept(): void {
    const { ipc, log } = this.environment
    let fd: number | undefined
    try {
      fd = ipc.accept(this.listener)
    } catch (error) {
      log(`no connection could be accepted: ${toBlockError(error).message}`)
      return
    }
    if (fd === undefined) return
    if (this.current !== undefined) {
      log('a second front-end was sent away')
      ipc.close(fd)
      return
    }
    if (!this.refuses) {
      this.watch?.close()
      this.watch = undefined
    }
    this.ended = this.serve(fd).then(() => {
      if (!this.closed) this.listen()
    })
  }
}

function connectionOptions(options: VhostUserServerOptions): ConnectionOptions {
  const { inbandNotifications = false, xenMappings = false, requireSealed = false, memorySlots = 64 } = options
  return { inbandNotifications, xenMappings, requireSealed, memorySlots }
}

/** Who is told of something may fail: that is its own affair, and no connection ends half way for it. */
function undisturbed<T>(tell: (said: T) => void): (said: T) => void {
  return (said) => {
    try {
      tell(said)
    } catch (error) {
      process.emitWarning(error instanceof Error ? error : String(error))
    }
  }
}
