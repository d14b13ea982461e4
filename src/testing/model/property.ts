// The model test as a fast-check property: random commands, and a scheduler that decides what completes next.

import * as fc from 'fast-check'
import { graphCommands } from '../arbitraries/graph-commands.js'
import type { GraphCommand } from './command.js'
import { runGraphModel } from './run.js'
import type { ModelScheduler, ModelWorld } from './world.js'

/** A property that holds where the graph keeps every invariant whatever is done to it. `seen` is told of each finished run. */
export function graphModelProperty(
  seen: (world: ModelWorld) => void = () => {},
  size: { minLength?: number; maxLength?: number } = {},
): fc.IAsyncProperty<[fc.Scheduler, GraphCommand[]]> {
  return fc.asyncProperty(fc.scheduler(), graphCommands(size), async (scheduler, commands) => {
    seen(await runGraphModel(commands, fastCheckScheduler(scheduler)))
  })
}

function fastCheckScheduler(scheduler: fc.Scheduler): ModelScheduler {
  return {
    schedule: (task, label) => scheduler.schedule(task, label),
    count: () => scheduler.count(),
    waitOne: () => scheduler.waitOne(),
    order: () =>
      scheduler
        .report()
        .filter((entry) => entry.status !== 'pending')
        .map((entry) => entry.taskId),
  }
}
