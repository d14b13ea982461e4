// A controlled disk that writes down every step of a transaction it is asked to take part in: permission checks, reopens, and
// what became of each. It vetoes where a test says so.

import { BlockError } from '../../common/error.js'
import { type MemoryState, openStore } from '../../drivers/memory.js'
import { type BlockDriver, defineDriver, type PreparedChange } from '../../global-state/driver.js'
import { sizeOption, stringOption } from '../../global-state/options/option-schema.js'
import { type Controller, controlledIo } from '../storage/controlled.js'
import { ChunkStore } from '../storage/memory-storage.js'

/** What an open staged node keeps. */
export interface StagedState extends MemoryState {
  readonly node: string
  /** Permission checks without an answer yet: 0, or 1 within a transaction. */
  checks: number
  tag: string
  closed: boolean
}

/** What happened, and what is to fail. */
export class StageLog {
  readonly entries: string[] = []
  /** Steps begun and not ended; empty whenever no transaction runs. */
  readonly open = new Set<string>()
  /** Nodes whose next permission check, or next reopen, is refused. */
  readonly vetoPermissions = new Set<string>()
  readonly vetoReopen = new Set<string>()
  /** How often a veto has struck. */
  refusals = 0
  /** What went wrong with the order of steps; stays empty. */
  readonly faults: string[] = []

  /** Whether a veto strikes `node`; it is used up. */
  strikes(vetoes: Set<string>, node: string): boolean {
    if (!vetoes.delete(node)) return false
    this.refusals++
    return true
  }

  begin(step: string): void {
    if (this.open.has(step)) this.faults.push(`${step} begun twice`)
    this.open.add(step)
    this.entries.push(`begin ${step}`)
  }

  end(step: string, how: 'commit' | 'abort'): void {
    if (!this.open.delete(step)) this.faults.push(`${how} of ${step}, which was not begun`)
    this.entries.push(`${how} ${step}`)
  }
}

/** Protocol driver `staged`: options `size` and `tag`, which a reopen may change. */
export function stagedDriver(controller: Controller, log: StageLog): BlockDriver {
  return defineDriver({
    name: 'staged',
    kind: 'protocol',
    options: { size: sizeOption({ default: 4096 }), tag: stringOption({ default: '' }) },
    mutableOptions: ['tag'],
    open(context, options) {
      const opened = openStore(new ChunkStore(options.size), context.node)
      const state: StagedState = { ...opened.state, node: context.nodeName, checks: 0, tag: options.tag, closed: false }
      return { ...opened, state, io: { ...opened.io, ...controlledIo(opened.io, context.nodeName, controller) } }
    },
    close(state) {
      if (state.closed) log.faults.push(`${state.node} closed twice`)
      state.closed = true
    },
    permissions: {
      check(state) {
        if (log.strikes(log.vetoPermissions, state.node))
          throw new BlockError('EACCES', 'permission check refused by a test', { node: state.node })
        log.begin(`permissions ${state.node}`)
      },
      set: (state) => log.end(`permissions ${state.node}`, 'commit'),
      abort: (state) => log.end(`permissions ${state.node}`, 'abort'),
    },
    async reopen(state, context): Promise<PreparedChange> {
      await Promise.resolve()
      if (log.strikes(log.vetoReopen, state.node))
        throw new BlockError('EACCES', 'reopen refused by a test', { node: state.node })
      const step = `reopen ${state.node}`
      log.begin(step)
      return {
        commit() {
          log.end(step, 'commit')
          state.tag = context.options.tag
        },
        abort: () => log.end(step, 'abort'),
      }
    },
  }) as BlockDriver
}
