import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { BlockError } from '../../../../src/common/error.js'
import {
  formatJsonFilename,
  formatOptionString,
  MAX_JSON_NAME,
  parseJsonFilename,
  parseOptionString,
} from '../../../../src/global-state/options/option-text.js'
import {
  flattenOptions,
  MAX_OPTION_DEPTH,
  mentionsChild,
  nestOptions,
  splitChild,
} from '../../../../src/global-state/options/options.js'

function refused(run: () => unknown): string {
  try {
    run()
  } catch (error) {
    expect(error).toBeInstanceOf(BlockError)
    expect((error as BlockError).code).toBe('EINVAL')
    return (error as BlockError).message
  }
  throw new Error('nothing was refused')
}

const name = fc.stringMatching(/^[a-z][a-z0-9-]{0,6}$/)
const scalar = fc.oneof(fc.string(), fc.integer(), fc.boolean(), fc.constant(null))
const nested = fc.letrec<{ group: Record<string, unknown>; value: unknown }>((tie) => ({
  group: fc.dictionary(name, tie('value'), { minKeys: 1, maxKeys: 4, noNullPrototype: true }),
  value: fc.oneof({ maxDepth: 4 }, scalar, tie('group'), fc.array(tie('value'), { minLength: 1, maxLength: 3 })),
})).group

describe('flattenOptions and nestOptions', () => {
  it('writes dotted keys, numbers lists and keeps null', () => {
    const flat = flattenOptions({
      driver: 'qcow2',
      'node-name': 'top',
      file: { driver: 'file', filename: 'a.b', rules: [{ event: 'x' }, 'y'] },
      backing: null,
      'cache.direct': true,
      left: undefined,
    })
    expect(flat).toEqual({
      driver: 'qcow2',
      'node-name': 'top',
      'file.driver': 'file',
      'file.filename': 'a.b',
      'file.rules.0.event': 'x',
      'file.rules.1': 'y',
      backing: null,
      'cache.direct': true,
    })
    expect(Object.keys(flat)[2]).toBe('file.driver')
  })

  it('come back from each other', () => {
    fc.assert(
      fc.property(nested, (options) => {
        expect(nestOptions(flattenOptions(options))).toEqual(options)
        expect(flattenOptions(nestOptions(flattenOptions(options)))).toEqual(flattenOptions(options))
      }),
    )
  })

  it('makes a list only of what is numbered without a gap', () => {
    expect(nestOptions({ 'a.0': 1, 'a.1': 2, 'b.0': 1, 'b.2': 2, 'c.00': 1 })).toEqual({
      a: [1, 2],
      b: { 0: 1, 2: 2 },
      c: { '00': 1 },
    })
  })

  it('refuses contradictions and doubles', () => {
    expect(refused(() => nestOptions({ a: 1, 'a.b': 2 }))).toMatch(/'a.b'/)
    expect(refused(() => nestOptions({ 'a.b': 2, a: 1 }))).toMatch(/'a'/)
    expect(refused(() => flattenOptions({ 'a.b': 1, a: { b: 2 } }))).toMatch(/twice/)
  })

  it('refuses what is no option value', () => {
    for (const value of [() => 1, Symbol('x'), 5n, new Uint8Array(3), new Map(), new Date(0)]) {
      expect(refused(() => flattenOptions({ x: value }))).toMatch(/'x'/)
    }
  })

  it('refuses empty names and names that every object has', () => {
    refused(() => flattenOptions({ '': 1 }))
    refused(() => flattenOptions({ 'a..b': 1 }))
    refused(() => flattenOptions({ a: JSON.parse('{"__proto__": 1}') as unknown }))
    expect(flattenOptions({ constructor: 1, toString: 2 })).toEqual({ constructor: 1, toString: 2 })
  })

  it('bounds depth and count, also of a ring', () => {
    const ring: Record<string, unknown> = {}
    ring.next = ring
    refused(() => flattenOptions(ring))
    refused(() => flattenOptions({ list: new Array(100_000).fill(1) as number[] }))
    let chain: Record<string, unknown> = { driver: 'raw' }
    for (let depth = 0; depth < 1000; depth++) chain = { backing: chain }
    const flat = flattenOptions(chain)
    expect(Object.keys(flat)[0]).toHaveLength(8006)
    expect(Object.keys(nestOptions(flat))).toEqual(['backing'])
    for (let depth = 1000; depth < MAX_OPTION_DEPTH; depth++) chain = { backing: chain }
    refused(() => flattenOptions(chain))
  })
})

describe('mentionsChild', () => {
  it.each([
    [{ 'file.filename': 'x' }, 'given'],
    [{ file: 'node0' }, 'given'],
    [{ file: null }, 'none'],
    [{ 'files.0': 'x', size: 1 }, 'absent'],
  ] as const)('says of %j that the child is %s', (flat, answer) => {
    expect(mentionsChild(flat, 'file')).toBe(answer)
  })
})

describe('splitChild', () => {
  it('takes the options, the reference or the null of a child', () => {
    const flat = { driver: 'raw', 'file.driver': 'file', 'file.filename': 'x', filename: 'y' }
    expect(splitChild(flat, 'file')).toEqual({
      own: { driver: 'raw', filename: 'y' },
      child: { driver: 'file', filename: 'x' },
    })
    expect(splitChild({ file: 'node0' }, 'file')).toEqual({ own: {}, child: {}, reference: 'node0' })
    expect(splitChild({ backing: null }, 'backing')).toEqual({ own: {}, child: {}, reference: null })
    expect(splitChild({ driver: 'raw' }, 'toString')).toEqual({ own: { driver: 'raw' }, child: {} })
  })

  it('refuses a reference beside options, and a number', () => {
    expect(refused(() => splitChild({ file: 'a', 'file.driver': 'file' }, 'file'))).toMatch(/'file'/)
    expect(refused(() => splitChild({ file: 5 }, 'file'))).toMatch(/node name/)
  })
})

describe('json: names', () => {
  it('are options', () => {
    expect(parseJsonFilename('json:{"driver":"raw","file":{"filename":"a\\"b"},"file.x":1}')).toEqual({
      driver: 'raw',
      'file.filename': 'a"b',
      'file.x': 1,
    })
  })

  it('come back from options', () => {
    fc.assert(
      fc.property(nested, (options) => {
        const flat = flattenOptions(options)
        expect(parseJsonFilename(formatJsonFilename(flat))).toEqual(flat)
      }),
    )
  })

  it.each(['json:', 'json:{', 'json:[]', 'json:null', 'json:5', 'json:{"a":}', 'raw.img', 'json:{"a":1}x'])(
    'refuses %s',
    (text) => {
      refused(() => parseJsonFilename(text))
    },
  )

  it('refuses what is too deep or too long before parsing it', () => {
    refused(() => parseJsonFilename(`json:${'{"a":'.repeat(600)}1${'}'.repeat(600)}`))
    refused(() => parseJsonFilename(`json:{"a":"${'x'.repeat(MAX_JSON_NAME)}"}`))
    // Braces inside of strings are no nesting.
    expect(parseJsonFilename(`json:{"a":"${'\\"{['.repeat(600)}"}`).a).toHaveLength(1800)
  })

  it('answers any text with options or EINVAL', () => {
    fc.assert(
      fc.property(fc.oneof(fc.string(), fc.json()), (text) => {
        try {
          parseJsonFilename(`json:${text}`)
        } catch (error) {
          expect((error as BlockError).code).toBe('EINVAL')
        }
      }),
    )
  })
})

describe('option strings', () => {
  it('know doubled commas, flags and dotted names', () => {
    expect(parseOptionString('driver=raw,file.filename=a,,b=c,read-only')).toEqual({
      driver: 'raw',
      'file.filename': 'a,b=c',
      'read-only': 'on',
    })
    expect(parseOptionString('')).toEqual({})
    expect(parseOptionString('a=1,')).toEqual({ a: '1' })
    expect(parseOptionString('a=,b=,,')).toEqual({ a: '', b: ',' })
    expect(parseOptionString('size=1,size=2')).toEqual({ size: '2' })
  })

  it('give the first bare word to an implied name', () => {
    expect(parseOptionString('raw,size=1,x', 'driver')).toEqual({ driver: 'raw', size: '1', x: 'on' })
    expect(parseOptionString('size=1,raw', 'driver')).toEqual({ size: '1', raw: 'on' })
  })

  it.each(['=1', ',a=1', 'a=1,,,b', 'a..b=1', '__proto__=1'])('refuses %s', (text) => {
    if (text === 'a=1,,,b') expect(parseOptionString(text)).toEqual({ a: '1,', b: 'on' })
    else refused(() => parseOptionString(text))
  })

  it('come back from options of text', () => {
    const key = fc.array(name, { minLength: 1, maxLength: 3 }).map((parts) => parts.join('.'))
    fc.assert(
      fc.property(fc.dictionary(key, fc.string(), { noNullPrototype: true }), (flat) => {
        expect(parseOptionString(formatOptionString(flat))).toEqual(flat)
      }),
    )
  })

  it('write flags and numbers, and refuse what has no text', () => {
    expect(formatOptionString({ a: true, b: false, c: 5 })).toBe('a=on,b=off,c=5')
    refused(() => formatOptionString({ backing: null }))
    refused(() => formatOptionString({ 'a,b': 'x' }))
  })
})
