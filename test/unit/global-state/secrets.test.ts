import { inspect } from 'node:util'
import { describe, expect, test } from 'vitest'
import { BlockGraph } from '../../../src/global-state/graph.js'
import { SecretStore } from '../../../src/global-state/secrets.js'

const PASSWORD = new TextEncoder().encode('open sesame')

describe('the secrets of a graph', () => {
  test('are kept by id, as copies', () => {
    const secrets = new SecretStore()
    const given = PASSWORD.slice()
    secrets.define('s0', given)
    given.fill(0)
    const got = secrets.lookup('s0')
    expect(got).toEqual(PASSWORD)
    got.fill(0)
    expect(secrets.lookup('s0')).toEqual(PASSWORD)
  })

  test('are copies also where a buffer gives views for slices', () => {
    const secrets = new SecretStore()
    const given = Buffer.from(PASSWORD)
    secrets.define('s0', given)
    given.fill(0)
    secrets.lookup('s0').fill(0)
    expect(secrets.lookup('s0')).toEqual(PASSWORD)
  })

  test('have one meaning each', () => {
    const secrets = new SecretStore()
    secrets.define('s0', PASSWORD)
    expect(() => secrets.define('s0', PASSWORD)).toThrow(expect.objectContaining({ code: 'EEXIST' }))
    expect(secrets.delete('s0')).toBe(true)
    expect(secrets.delete('s0')).toBe(false)
    expect(() => secrets.lookup('s0')).toThrow(
      expect.objectContaining({ code: 'EINVAL', message: "No secret with id 's0'" }),
    )
  })

  test('show nowhere', () => {
    const graph = new BlockGraph({ drivers: [] })
    graph.secrets.define('s0', PASSWORD)
    const shown = `${inspect(graph, { depth: 9, showHidden: true })}${JSON.stringify(graph.secrets)}${String(graph.secrets)}`
    expect(shown).not.toContain('sesame')
    expect(shown).not.toContain('111, 112, 101')
    expect(shown).not.toContain('6f 70 65 6e')
  })
})
