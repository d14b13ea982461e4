// Every sample comes from a process of its own: what ran before in a process slows or speeds up what comes after.

import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'

const TIME_LIMIT_MS = 180_000

/** The repository. Benches run from build/bench/support. */
export const repository = fileURLToPath(new URL('../../../', import.meta.url))

/** Runs a program to its end; what it printed. Rejects with what it said where it fails or takes too long. */
export function runProgram(program: string, args: readonly string[], env: NodeJS.ProcessEnv = {}): Promise<string> {
  const options = {
    cwd: repository,
    // Node would read the certificates this names before anything else, which takes longer than starting does.
    env: { ...process.env, NODE_EXTRA_CA_CERTS: undefined, ...env },
    timeout: TIME_LIMIT_MS,
    killSignal: 'SIGKILL' as const,
    maxBuffer: 2 ** 24,
  }
  return new Promise((resolve, reject) => {
    execFile(program, [...args], options, (error, stdout, stderr) => {
      if (error === null) resolve(stdout)
      else reject(new Error(`${program} ${args.join(' ')}: ${stderr.trim() || error.message}`))
    })
  })
}

/** Runs `workers/<name>.js`, which prints one line of JSON: numbers by name. */
export async function runWorker(
  name: string,
  args: readonly string[] = [],
  env: NodeJS.ProcessEnv = {},
): Promise<Record<string, number>> {
  const path = fileURLToPath(new URL(`../workers/${name}.js`, import.meta.url))
  const printed = await runProgram(process.execPath, ['--expose-gc', path, ...args], env)
  return JSON.parse(printed) as Record<string, number>
}
