import { Option } from 'commander'
import { expect, test } from 'vitest'
import { newCommand, parseCommandLine, repeatedOption } from '../../../src/cli/command-line.js'
import { ToolError } from '../../../src/cli/tool.js'
import { recordingTool } from './recording-tool.js'

function parse(...args: string[]) {
  const command = newCommand('x')
    .addOption(new Option('-f, --format <fmt>'))
    .addOption(repeatedOption('-o, --options <list>'))
    .option('-q, --quiet')
    .option('--image-opts')
    .option('--image-size <size>')
    .option('--output <ofmt>')
  return parseCommandLine<Record<string, unknown>>(recordingTool(), command, args)
}

function refusal(...args: string[]): { message: string; hints: readonly string[] } {
  try {
    parse(...args)
  } catch (thrown) {
    if (thrown instanceof ToolError) return { message: thrown.message, hints: thrown.hints }
    throw thrown
  }
  throw new Error('accepted')
}

test('options may be clustered, glued, abbreviated, and stand behind operands', () => {
  expect(parse('a', '-qf', 'raw', 'b')).toEqual({ options: { quiet: true, format: 'raw' }, operands: ['a', 'b'] })
  expect(parse('-fraw').options).toEqual({ format: 'raw' })
  expect(parse('--form=raw', '--outp', 'json').options).toEqual({ format: 'raw', output: 'json' })
  expect(parse('-o', 'a=1', '-o', 'b=2').options).toEqual({ options: ['a=1', 'b=2'] })
})

test('what follows an option that takes an argument is its argument, whatever it looks like', () => {
  expect(parse('-f', '--outp', 'x')).toEqual({ options: { format: '--outp' }, operands: ['x'] })
  expect(parse('--format', '-q').options).toEqual({ format: '-q' })
  expect(parse('--', '-q', '--outp')).toEqual({ options: {}, operands: ['-q', '--outp'] })
})

test('mistakes are told in the words of getopt, with a pointer to the help', () => {
  const hints = ["Try 'tool --help' for more information"]
  expect(refusal('-Z')).toEqual({ message: "unrecognized option '-Z'", hints })
  expect(refusal('--foo', 'x')).toEqual({ message: "unrecognized option '--foo'", hints })
  expect(refusal('--image')).toEqual({ message: "unrecognized option '--image'", hints })
  expect(refusal('x', '-f')).toEqual({ message: "missing argument for option '-f'", hints })
  expect(refusal('--output')).toEqual({ message: "missing argument for option '--output'", hints })
})
