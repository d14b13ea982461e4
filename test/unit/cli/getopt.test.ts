import { describe, expect, test } from 'vitest'
import { GetoptError, getopt, type OptionTable } from '../../../src/cli/getopt.js'

const TABLE: OptionTable = {
  short: 'ab:c',
  long: [
    { name: 'alpha', option: 'a' },
    { name: 'beta', option: 'b', hasArgument: true },
    { name: 'betray', option: 't' },
    { name: 'only-long', option: 'long', hasArgument: true },
  ],
}

function read(...args: string[]) {
  const options: string[] = []
  const operands = getopt(args, TABLE, (option, argument) => options.push(`${option}=${argument}`) > 0)
  return { options, operands }
}

describe('options', () => {
  test.each([
    [
      ['-a', '-b', 'x', '-c'],
      ['a=', 'b=x', 'c='],
    ],
    [
      ['-ab', 'x'],
      ['a=', 'b=x'],
    ],
    [['-abx'], ['a=', 'b=x']],
    [['-b', '-a'], ['b=-a']],
    [['-b', '--'], ['b=--']],
    [
      ['--alpha', '--beta=x', '--beta', 'y'],
      ['a=', 'b=x', 'b=y'],
    ],
    [['--beta='], ['b=']],
    [
      ['--al', '--betr', '--only', 'z'],
      ['a=', 't=', 'long=z'],
    ],
  ])('%j', (args, expected) => {
    expect(read(...args)).toEqual({ options: expected, operands: [] })
  })

  test('stand between operands, up to two dashes', () => {
    expect(read('x', '-a', '-', 'y', '--', '-c', 'z')).toEqual({
      options: ['a='],
      operands: ['x', '-', 'y', '-c', 'z'],
    })
  })

  test('end where the taker has enough', () => {
    const seen: string[] = []
    const stop = (option: string) => seen.push(option) < 2
    expect(getopt(['-ac', '-Z', 'x'], TABLE, stop)).toEqual([])
    expect(getopt(['x', '--alpha', '--nonsense'], TABLE, () => false)).toEqual(['x'])
    expect(getopt(['--beta=1', '--nonsense'], TABLE, () => false)).toEqual([])
    expect(getopt(['-b1', '--nonsense'], TABLE, () => false)).toEqual([])
    expect(seen).toEqual(['a', 'c'])
  })
})

describe('mistakes are told in the words of the C library', () => {
  test.each([
    [['-Z'], "invalid option -- 'Z'"],
    [['-aZ'], "invalid option -- 'Z'"],
    [['-:'], "invalid option -- ':'"],
    [['-b'], "option requires an argument -- 'b'"],
    [['--zeta=3'], "unrecognized option '--zeta=3'"],
    [['--beta'], "option '--beta' requires an argument"],
    [['--alp=3'], "option '--alpha' doesn't allow an argument"],
    [['--bet=3'], "option '--bet=3' is ambiguous; possibilities: '--beta' '--betray'"],
  ])('%j', (args, message) => {
    expect(() => read(...args)).toThrow(new GetoptError(message))
  })

  test('after what came before them has been taken', () => {
    const seen: string[] = []
    expect(() => getopt(['-a', '-Z'], TABLE, (option) => seen.push(option) > 0)).toThrow(GetoptError)
    expect(seen).toEqual(['a'])
  })
})
