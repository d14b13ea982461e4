// The programs of bin/, for tests that start them as users do. They are made of what the compiler leaves, by a step of its own:
// one that was left out would have tests run what was there before.

import { existsSync, statSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

const at = (path: string): string => fileURLToPath(new URL(`../../${path}`, import.meta.url))

/** Where the program `name` is. Throws where it is missing or older than the modules it is made of. */
export function builtProgram(name: string): string {
  const bundle = at(`dist/programs/${name}.js`)
  const made = existsSync(bundle) ? statSync(bundle).mtimeMs : 0
  const compiled = ['dist/.universal.tsbuildinfo', 'dist/.node.tsbuildinfo'].map((path) => statSync(at(path)).mtimeMs)
  if (made < Math.max(...compiled)) throw new Error('dist/programs is not up to date: npm run build')
  return at(`bin/${name}.js`)
}
