import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { isErrnoName } from '../../src/common/errno.js'
import { fileDriver } from '../../src/drivers/file/index.js'
import { builtinDrivers } from '../../src/drivers/index.js'
import { GENERIC_OPTIONS } from '../../src/global-state/life/open-options.js'
import { root } from './source-files.js'

const read = (path: string) => readFileSync(join(root, path), 'utf8')

/** The words set as code in a document. */
function codeWords(text: string): Set<string> {
  return new Set([...text.matchAll(/`([^`\n]+)`/g)].map((match) => match[1] ?? ''))
}

describe('the reference', () => {
  const drivers = [...builtinDrivers, fileDriver]

  test.each(drivers.map((driver) => [driver.name, driver] as const))(
    'has a page on %s with all its options',
    (name, driver) => {
      const path = `docs/reference/drivers/${name}.md`
      expect(existsSync(join(root, path))).toBe(true)
      const words = codeWords(read(path))
      const options = [...Object.keys(driver.options), ...Object.keys(driver.createOptions ?? {})]
      // Burst options follow a pattern that the page states once.
      expect(options.filter((key) => !words.has(key) && !/-max(-length)?$/.test(key))).toEqual([])
      expect(read('docs/reference/drivers/README.md')).toContain(`(${name}.md)`)
    },
  )

  test('names every generic option', () => {
    const words = codeWords(read('docs/reference/options.md'))
    expect(Object.keys(GENERIC_OPTIONS).filter((key) => !words.has(key))).toEqual([])
  })

  test('names no error code that does not exist', () => {
    const named = [...codeWords(read('docs/reference/errors.md'))].filter((word) => /^E[A-Z]+$/.test(word))
    expect(named.filter((word) => !isErrnoName(word))).toEqual([])
  })
})
