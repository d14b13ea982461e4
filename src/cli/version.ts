// What `--version` prints.

import { readFileSync } from 'node:fs'

/** The version line. */
export function versionText(tool: string): string {
  const text = readFileSync(new URL('../../package.json', import.meta.url), 'utf8')
  const { version } = JSON.parse(text) as { version: string }
  return `${tool} version ${version}\n`
}
