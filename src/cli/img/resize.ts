// resize: changes the length of a disk.

import { PREALLOCATION_MODES, type Preallocation } from '../../common/option-names.js'
import { parseSize } from '../../global-state/options/size-text.js'
import { newCommand, parseCommandLine, repeatedOption } from '../command-line.js'
import { failure } from '../error-text.js'
import {
  checkObjects,
  formatOption,
  type ImageOptionValues,
  imageOptsOption,
  refuseFormatWithImageOpts,
} from '../image-options.js'
import { openImage } from '../open-image.js'
import { type OpenImage, withSession } from '../session.js'
import { type Tool, ToolError, usageError } from '../tool.js'

interface Values extends ImageOptionValues {
  preallocation: Preallocation
  quiet?: boolean
  shrink?: boolean
}

/** Runs `resize`. */
export async function resize(tool: Tool, args: readonly string[]): Promise<number> {
  // The last word is the size, which may begin with a minus.
  const last = args.at(-1)
  if (last === undefined || args.length < 2) throw usageError(tool.name, 'Not enough arguments')
  const command = newCommand('resize')
    .addOption(formatOption())
    .addOption(imageOptsOption())
    .addOption(repeatedOption('--object <def>'))
    .option('--preallocation <mode>', '', preallocationMode, 'off')
    .option('-q, --quiet')
    .option('--shrink')
  const { options, operands } = parseCommandLine<Values>(tool, command, args.slice(0, -1))
  const [name] = operands
  if (name === undefined || operands.length > 1) {
    throw usageError(tool.name, 'Expecting image file name and size')
  }
  const change = parseChange(last)
  const secrets = checkObjects(options.object)
  refuseFormatWithImageOpts(options.format, options.imageOpts)
  await withSession(tool, async (session) => {
    session.defineSecrets(secrets)
    const { format, imageOpts } = options
    const image = await openImage(session, { name, format, imageOpts, writable: true, resizable: true })
    await resizeImage(image, change, options)
  })
  if (options.quiet !== true) tool.out('Image resized.\n')
  return 0
}

function preallocationMode(word: string): Preallocation {
  const mode = PREALLOCATION_MODES.find((known) => known === word)
  if (mode === undefined) throw new ToolError(`Invalid preallocation mode '${word}'`)
  return mode
}

/** A length in bytes, or what is added to it or taken from it. */
interface Change {
  sign: -1 | 0 | 1
  bytes: number
}

function parseChange(text: string): Change {
  const sign = text.startsWith('+') ? 1 : text.startsWith('-') ? -1 : 0
  const digits = sign === 0 ? text : text.slice(1)
  const bytes = parseSize(digits)
  if (Number.isNaN(bytes)) {
    throw new ToolError("Parameter 'size' expects a non-negative number below 2^64", 1, [
      'Optional suffix k, M, G, T, P or E means kilo-, mega-, giga-, tera-, peta-',
      'and exabytes, respectively.',
    ])
  }
  if (bytes >= 2 ** 64) throw new ToolError(`Value '${digits}' is out of range for parameter 'size'`)
  return { sign, bytes }
}

async function resizeImage(image: OpenImage, change: Change, options: Values): Promise<void> {
  const { backend } = image
  const { preallocation } = options
  const present = backend.length
  const length = change.sign === 0 ? change.bytes : present + change.sign * change.bytes
  if (length <= 0 || length >= 2 ** 63) throw new ToolError('New image size must be positive')
  if (length <= present && preallocation !== 'off') {
    throw new ToolError('Preallocation can only be used for growing images')
  }
  if (length < present && options.shrink !== true) {
    throw new ToolError(
      'Use the --shrink option to perform a shrink operation.\n' +
        "warning: Shrinking an image will delete all data beyond the shrunken image's end. " +
        'Before performing such an operation, make sure there is no important data there.',
    )
  }
  try {
    await backend.truncate(length, { truncate: { preallocation } })
  } catch (thrown) {
    throw failure(thrown)
  }
}
