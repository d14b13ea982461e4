// How V8 compiles a program of a few tenths of a second: it is over before much of it has been optimised, and where the
// host has no processor to spare, the thread that optimises takes one from those that move the data.

import { availableParallelism } from 'node:os'

/** Bytes of bytecode run before a function is looked at for optimisation; V8's own figure is a twelfth of it. */
const PATIENT_BUDGET = 800_000
/** One for the program, one for the pool that moves its data. */
const BUSY_PROCESSORS = 2

/** Less than this is moved before baseline code has earned what making it costs. */
const LONG_WORK_BYTES = 64 * 1024 * 1024

/** Whether the flags pay for a command that moves so many bytes. */
export function paysTuning(bytes: number): boolean {
  return bytes >= LONG_WORK_BYTES
}

/** Sets the flags, for the rest of the process. For programs only, when what they need is loaded. */
export function tuneEngine(processors: number = availableParallelism()): void {
  // Loaded here, as most commands never ask for it.
  const { setFlagsFromString } = process.getBuiltinModule('node:v8')
  for (const flag of engineFlags(processors)) setFlagsFromString(flag)
}

/** Flags for a host with so many processors. */
export function engineFlags(processors: number): string[] {
  // Baseline code at a function's first call, by the main thread in some microseconds; bytecode is several times slower.
  const baseline = '--always-sparkplug'
  return processors > BUSY_PROCESSORS ? [baseline] : [baseline, `--interrupt-budget=${PATIENT_BUDGET}`]
}
