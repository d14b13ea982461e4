// truncate: changes the length of the disk.

import { BlockError } from '../../../common/error.js'
import { PREALLOCATION_MODES } from '../../../common/option-names.js'
import { BLK_PERM_RESIZE, BLK_PERM_WRITE } from '../../../common/permissions.js'
import { messageText } from '../../error-text.js'
import { getopt } from '../../getopt.js'
import { ToolError } from '../../tool.js'
import { type IoCommand, UsageFailure } from '../command.js'
import { exactByteCount } from '../numbers.js'

/** The largest length in the field's formats, which is beyond what this library handles. */
const LONGEST = 2n ** 63n - 2n ** 30n

export const truncateCommand: IoCommand = {
  name: 'truncate',
  alias: 't',
  minWords: 1,
  maxWords: 3,
  usage: '[-m prealloc_mode] off',
  summary: 'truncates the current file at the given offset',
  needs: BLK_PERM_WRITE | BLK_PERM_RESIZE,
  async run(shell, words) {
    let mode = 'off'
    const operands = getopt(words.slice(1), { short: 'm:' }, (_letter, argument) => {
      mode = argument
      checkMode(mode)
      return true
    })
    const [text] = operands
    if (text === undefined) throw new UsageFailure()
    const exact = exactByteCount(shell, text, words[1])
    if (exact > LONGEST) throw new ToolError(`offset(${exact}) exceeds maximum(${LONGEST})`)
    const length = Number(exact)
    try {
      await shell.opened.backend.truncate(length, { truncate: { exact: false, preallocation: checkMode(mode) } })
    } catch (thrown) {
      throw refusal(thrown)
    } finally {
      shell.aio.deliver()
    }
    return true
  },
}

function checkMode(word: string) {
  const mode = PREALLOCATION_MODES.find((each) => each === word)
  if (mode === undefined) throw new ToolError(`Invalid preallocation mode '${word}'`)
  return mode
}

function refusal(thrown: unknown): ToolError {
  const message = messageText(thrown)
  if (thrown instanceof BlockError && thrown.code === 'EFBIG') {
    return new ToolError('Could not resize file: File too large')
  }
  return new ToolError(
    /cannot change its length$/.test(message) ? 'Image format driver does not support resize' : message,
  )
}
