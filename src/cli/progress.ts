// The progress line of a long command: "    (12.50/100%)" and a carriage return, as other tools parse it.

import type { Tool } from './tool.js'

/** Prints percentages; nothing unless enabled. */
export class Progress {
  readonly #tool: Tool
  readonly #enabled: boolean
  readonly #step: number
  #last = 0

  /** `step`: percent that have to be gained before another line is printed. */
  constructor(tool: Tool, enabled: boolean, step: number) {
    this.#tool = tool
    this.#enabled = enabled
    this.#step = step
  }

  get enabled(): boolean {
    return this.#enabled
  }

  /** Tells how far the work is. 0 and 100 are always printed. */
  report(percent: number): void {
    if (!this.#enabled) return
    if (percent !== 0 && percent !== 100 && percent - this.#last < this.#step) return
    this.#last = percent
    this.#tool.out(`    (${percent.toFixed(2)}/100%)\r`)
  }

  /** Ends the line; to be called once, also after a failure. */
  end(): void {
    if (this.#enabled) this.#tool.out('\n')
  }
}
