// The crash run as a property of fast-check, which chooses workloads, shrinks what fails, and prints seed and path.

import * as fc from 'fast-check'
import { type CrashCommand, type CrashCommandConstraints, crashCommands } from './crash-commands.js'
import { type CrashRunOptions, type CrashSummary, runCrash } from './crash-run.js'
import type { CrashTarget } from './crash-target.js'

/** How the property is made. */
export interface CrashPropertyOptions extends CrashCommandConstraints, Omit<CrashRunOptions, 'seed'> {
  /** Is told what each run that passed looked at. */
  onRun?: (summary: CrashSummary) => void
}

/** Every state that a crash in a random workload may leave keeps the promises. */
export function crashProperty(
  target: CrashTarget,
  options: CrashPropertyOptions = {},
): fc.IAsyncPropertyWithHooks<[CrashCommand[], number]> {
  const { onRun, statesPerPoint, ...constraints } = options
  // The seed of a run is no better for being small.
  const seed = fc.noShrink(fc.nat({ max: 2 ** 31 - 1 }))
  return fc.asyncProperty(crashCommands(target, constraints), seed, async (commands, chosen) => {
    const summary = await runCrash(target, commands, {
      seed: chosen,
      ...(statesPerPoint === undefined ? {} : { statesPerPoint }),
    })
    onRun?.(summary)
  })
}
