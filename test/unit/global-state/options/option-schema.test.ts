import fc from 'fast-check'
import { describe, expect, expectTypeOf, it } from 'vitest'
import { BlockError } from '../../../../src/common/error.js'
import { MAX_LENGTH } from '../../../../src/common/limits.js'
import { GiB, KiB, MiB, PiB, TiB } from '../../../../src/common/units.js'
import {
  enumOption,
  flagOption,
  groupOption,
  integerOption,
  listOption,
  type OptionField,
  readOptions,
  refuseLeftOver,
  sizeOption,
  stringOption,
} from '../../../../src/global-state/options/option-schema.js'
import { flattenOptions } from '../../../../src/global-state/options/options.js'

const where = { driver: 'test', node: 'n0' }

function read<T>(field: OptionField<T>, raw: unknown): T {
  return readOptions({ it: field }, flattenOptions({ it: raw }), where).values.it as T
}

function refusal(run: () => unknown): BlockError {
  try {
    run()
  } catch (error) {
    if (error instanceof BlockError) return error
    throw error
  }
  throw new Error('nothing was refused')
}

describe('fields', () => {
  it('type values by default and required', () => {
    const { values } = readOptions(
      {
        plain: stringOption(),
        must: stringOption({ required: true }),
        sized: sizeOption({ default: 5 }),
        flag: flagOption({ default: false, description: 'whether' }),
        mode: enumOption(['on', 'off'], { default: 'off' }),
        free: enumOption(['a', 'b']),
        count: integerOption({ min: 1, max: 9 }),
        rules: listOption(integerOption({ required: true })),
      },
      { must: 'x' },
      where,
    )
    expectTypeOf(values.plain).toEqualTypeOf<string | undefined>()
    expectTypeOf(values.must).toEqualTypeOf<string>()
    expectTypeOf(values.sized).toEqualTypeOf<number>()
    expectTypeOf(values.flag).toEqualTypeOf<boolean>()
    expectTypeOf(values.mode).toEqualTypeOf<'on' | 'off'>()
    expectTypeOf(values.free).toEqualTypeOf<'a' | 'b' | undefined>()
    expectTypeOf(values.count).toEqualTypeOf<number | undefined>()
    expectTypeOf(values.rules).toEqualTypeOf<readonly number[] | undefined>()
    expect(values).toEqual({ must: 'x', sized: 5, flag: false, mode: 'off' })
  })

  it.each([
    [true, true],
    [false, false],
    ['on', true],
    ['off', false],
    ['yes', true],
    ['no', false],
    ['true', true],
    ['false', false],
  ])('reads flag %j as %j', (raw, value) => {
    expect(read(flagOption(), raw)).toBe(value)
  })

  it.each([
    [0, 0],
    [512, 512],
    ['512', 512],
    ['512b', 512],
    ['64k', 64 * KiB],
    ['64K', 64 * KiB],
    ['1.5G', 1.5 * GiB],
    ['0.25M', 256 * KiB],
    ['3T', 3 * TiB],
    ['1P', PiB],
    ['1E', undefined],
    ['0x200', 512],
    [String(MAX_LENGTH), MAX_LENGTH],
    [MAX_LENGTH, MAX_LENGTH],
  ])('reads size %j as %j', (raw, value) => {
    if (value === undefined) expect(() => read(sizeOption(), raw)).toThrow(/at most 9007198180999168/)
    else expect(read(sizeOption(), raw)).toBe(value)
  })

  it.each([
    '',
    ' 1',
    '1 k',
    '-1',
    '1.5',
    '1kk',
    '1KiB',
    'k',
    '0x',
    '1e3',
    -1,
    1.5,
    true,
    null,
    '1.1b',
    '99999999999999999999',
  ])('refuses size %j', (raw) => {
    expect(refusal(() => read(sizeOption(), raw)).code).toBe('EINVAL')
  })

  it('reads integers in their range, from decimal and hexadecimal text', () => {
    const field = integerOption({ min: -4, max: 100 })
    expect([read(field, '-4'), read(field, '0x10'), read(field, 100)]).toEqual([-4, 16, 100])
    for (const raw of [-5, 101, '101', 1.5, '1.5', '', 'a', '1k', true]) {
      expect(refusal(() => read(field, raw)).code).toBe('EINVAL')
    }
  })

  it('reads lists and groups from nested and from dotted options alike', () => {
    const schema = {
      rules: listOption(groupOption({ event: stringOption({ required: true }), once: flagOption({ default: true }) })),
    }
    const expected = {
      rules: [
        { event: 'read', once: true },
        { event: 'write', once: false },
      ],
    }
    const nested = flattenOptions({ rules: [{ event: 'read' }, { event: 'write', once: false }] })
    const dotted = { 'rules.0.event': 'read', 'rules.1.event': 'write', 'rules.1.once': 'off' }
    expect(readOptions(schema, nested, where).values).toEqual(expected)
    expect(readOptions(schema, dotted, where)).toEqual({ values: expected, rest: {} })
    expect(refusal(() => readOptions(schema, { 'rules.0.once': true }, where)).message).toMatch(
      /'rules'.*'event' is missing/,
    )
    expect(refusal(() => readOptions(schema, { 'rules.1.event': 'x' }, where)).message).toMatch(/a list/)
    expect(refusal(() => readOptions(schema, { 'rules.0.event': 'x', 'rules.0.evnt': 'x' }, where)).message).toMatch(
      /'evnt'/,
    )
  })
})

describe('readOptions', () => {
  it('names node, driver, option, what it takes and what it was given', () => {
    const error = refusal(() => readOptions({ mode: enumOption(['a', 'b']) }, { mode: 'c\n' }, where))
    expect(error.code).toBe('EINVAL')
    expect(error.message).toBe("n0: driver 'test': option 'mode' takes one of a, b, not 'c\\x0a'")
  })

  it('names a missing required option', () => {
    const error = refusal(() => readOptions({ filename: stringOption({ required: true }) }, {}, where))
    expect(error.message).toMatch(/driver 'test': option 'filename' is missing/)
  })

  it('leaves over what the schema does not name, which can be refused', () => {
    const { rest } = readOptions({ a: stringOption() }, { a: 'x', 'file.driver': 'raw', b: 1 }, where)
    expect(rest).toEqual({ 'file.driver': 'raw', b: 1 })
    expect(refusal(() => refuseLeftOver({ b: 1 }, where)).message).toBe("n0: driver 'test' has no option 'b'")
    refuseLeftOver({}, where)
  })

  it('cuts long strings in messages', () => {
    const error = refusal(() => readOptions({ n: integerOption() }, { n: 'x'.repeat(10_000) }, where))
    expect(error.message.length).toBeLessThan(400)
  })

  it('is not misled by names of the object prototype', () => {
    const schema = { toString: stringOption(), size: sizeOption({ default: MiB }) }
    expect(readOptions(schema, {}, where).values).toEqual({ toString: undefined, size: MiB })
  })

  it('never answers anything but a value or EINVAL', () => {
    const scalar = fc.oneof(fc.string(), fc.double(), fc.integer(), fc.boolean(), fc.constant(null))
    const fields = [
      stringOption(),
      flagOption(),
      sizeOption(),
      integerOption(),
      enumOption(['x', 'y']),
      listOption(sizeOption()),
    ]
    fc.assert(
      fc.property(fc.constantFrom(...fields), scalar, (field, raw) => {
        try {
          readOptions({ it: field as OptionField<unknown> }, { it: raw }, where)
        } catch (error) {
          expect(error).toBeInstanceOf(BlockError)
          expect((error as BlockError).code).toBe('EINVAL')
        }
      }),
    )
  })
})
