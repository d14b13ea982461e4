// An open descriptor and the count of host calls that use it. A call queued behind a close would land in whatever file got
// the number next; so the number is handed out only between enter and leave, and close waits until nobody is inside.

import { assert } from '../../common/assert.js'
import type { HostFile } from '../../platform/host-file.js'

/** Owner of one descriptor. */
export class Descriptor {
  readonly #host: HostFile
  readonly #fd: number
  #calls = 0
  #closing: Promise<void> | undefined
  #whenIdle: (() => void) | undefined

  constructor(host: HostFile, fd: number) {
    this.#host = host
    this.#fd = fd
  }

  /** Host calls under way. */
  get calls(): number {
    return this.#calls
  }

  /** The number for a call that is over before anything else runs. */
  get number(): number {
    assert(this.#closing === undefined, 'a closed descriptor was used')
    return this.#fd
  }

  /** The number for a host call; each is followed by one `leave`. */
  enter(): number {
    assert(this.#closing === undefined, 'a closed descriptor was used')
    this.#calls++
    return this.#fd
  }

  /** The host call has ended. */
  leave(): void {
    if (--this.#calls === 0 && this.#whenIdle !== undefined) this.#whenIdle()
  }

  /** Refuses new calls at once, waits for those under way, closes. Every call gets the same promise. */
  close(): Promise<void> {
    this.#closing ??= this.#closeWhenIdle()
    return this.#closing
  }

  async #closeWhenIdle(): Promise<void> {
    if (this.#calls > 0) {
      await new Promise<void>((resolve) => {
        this.#whenIdle = resolve
      })
    }
    await this.#host.close(this.#fd)
  }
}
