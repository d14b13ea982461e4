// discard: tells that a range is no longer needed.

import { BLK_PERM_WRITE } from '../../../common/permissions.js'
import { errnoText } from '../../error-text.js'
import { getopt } from '../../getopt.js'
import { CommandFailure, type IoCommand, UsageFailure } from '../command.js'
import { discardRange } from '../disk-range.js'
import { byteCount, MAX_REQUEST } from '../numbers.js'
import { reportTransfer } from '../report.js'

export const discardCommand: IoCommand = {
  name: 'discard',
  alias: 'd',
  minWords: 2,
  maxWords: Number.POSITIVE_INFINITY,
  usage: '[-Cq] off len',
  summary: 'discards a number of bytes at a specified offset',
  needs: BLK_PERM_WRITE,
  help: `
 Says that len bytes from off on are no longer needed; what is read there afterwards is the format's to decide.

 discard 512 1k     discards the kilobyte behind the first sector

 -C         print figures in one line, separated by commas
 -q         print no figures
`,
  async run(shell, words) {
    let machine = false
    let quiet = false
    const operands = getopt(words.slice(1), { short: 'Cq' }, (letter) => {
      if (letter === 'C') machine = true
      else quiet = true
      return true
    })
    const [offsetText, countText] = operands
    if (offsetText === undefined || countText === undefined || operands.length > 2) throw new UsageFailure()
    const offset = byteCount(shell, offsetText)
    const bytes = byteCount(shell, countText)
    if (bytes > MAX_REQUEST) throw new CommandFailure(`length cannot exceed ${MAX_REQUEST}, given ${countText}`)
    const began = shell.now()
    try {
      await discardRange(shell.opened, offset, bytes)
    } catch (thrown) {
      shell.aio.deliver()
      throw new CommandFailure(`discard failed: ${errnoText(thrown)}`)
    }
    const seconds = (shell.now() - began) / 1000
    shell.aio.deliver()
    if (!quiet) reportTransfer(shell.host, { done: 'discard', offset, bytes, seconds }, machine)
    return true
  },
}
