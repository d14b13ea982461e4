// Command lines that ask about one image: how it is opened, and in which form the answer is printed.

import type { Command } from 'commander'
import { newCommand, parseCommandLine, repeatedOption } from './command-line.js'
import {
  checkObjects,
  forceShareOption,
  formatOption,
  type ImageOptionValues,
  imageOptsOption,
  type OutputFormat,
  outputOption,
  refuseFormatWithImageOpts,
} from './image-options.js'
import type { SecretDefinition } from './objects.js'
import { type Tool, usageError } from './tool.js'

/** Values of the options that every such command has. */
export interface ImageQueryValues extends ImageOptionValues {
  output: OutputFormat
}

/** A question that was read. */
export interface ImageQuery<Values> {
  options: Values
  /** The image, by its name or, with `--image-opts`, its options. */
  name: string
  secrets: readonly SecretDefinition[]
}

/** A new command with the options that every such command has. */
export function newImageQuery(name: string): Command {
  return newCommand(name)
    .addOption(formatOption())
    .addOption(outputOption())
    .addOption(forceShareOption())
    .addOption(imageOptsOption())
    .addOption(repeatedOption('--object <def>'))
}

/** Reads `args`. Throws a {@link ToolError} as `parseCommandLine`, and unless they name one image. */
export function readImageQuery<Values extends ImageQueryValues>(
  tool: Tool,
  command: Command,
  args: readonly string[],
): ImageQuery<Values> {
  const { options, operands } = parseCommandLine<Values>(tool, command, args)
  const [name] = operands
  if (name === undefined || operands.length > 1) throw usageError(tool.name, 'Expecting one image file name')
  const secrets = checkObjects(options.object)
  refuseFormatWithImageOpts(options.format, options.imageOpts)
  return { options, name, secrets }
}
