// How V8 compiles a program of a few tenths of a second: it is over before much of it has been optimised, and where the
// host has no processor to spare, the thread that optimises takes one from those that move the data.

import { availableParallelism } from 'node:os'
import { setFlagsFromString } from 'node:v8'

/** Bytes of bytecode run before a function is looked at for optimisation; V8's own figure is a twelfth of it. */
const PATIENT_BUDGET = 800_000
/** One for the program, one for the pool that moves its data. */
const BUSY_PROCESSORS = 2

/** For launchers, once what they need is loaded: a flag that is set before makes loading slower. */
export function tuneEngine(processors: number = availableParallelism()): void {
  for (const flag of engineFlags(processors)) setFlagsFromString(flag)
}

/** Flags for a host with so many processors. */
export function engineFlags(processors: number): string[] {
  // Baseline code at a function's first call, by the main thread in some microseconds; bytecode is several times slower.
  const baseline = '--always-sparkplug'
  return processors > BUSY_PROCESSORS ? [baseline] : [baseline, `--interrupt-budget=${PATIENT_BUDGET}`]
}
