// Removes everything that is built.

import { rmSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

for (const folder of ['dist', 'build', 'coverage', 'demo-output']) {
  rmSync(fileURLToPath(new URL(`../${folder}`, import.meta.url)), { recursive: true, force: true })
}
