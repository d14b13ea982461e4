// reopen: changes how the open image is open.

import { BlockError } from '../../../common/error.js'
import { BDRV_O_NO_FLUSH, BDRV_O_NOCACHE, type CacheMode } from '../../../common/open-flags.js'
import { BLK_PERM_RESIZE, BLK_PERM_WRITE } from '../../../common/permissions.js'
import { reopenNodes } from '../../../global-state/life/reopen.js'
import type { FlatOptions, OptionScalar } from '../../../global-state/options/options.js'
import { drained } from '../../../io/drained.js'
import { errnoText, messageText } from '../../error-text.js'
import { getopt } from '../../getopt.js'
import { cacheMode } from '../../image-options.js'
import { ToolError } from '../../tool.js'
import { type IoCommand, UsageFailure } from '../command.js'
import { optionList } from '../image-flags.js'
import type { Shell } from '../shell.js'

interface Change {
  readOnly: boolean | undefined
  cache: CacheMode | undefined
  options: FlatOptions
}

export const reopenCommand: IoCommand = {
  name: 'reopen',
  minWords: 0,
  maxWords: Number.POSITIVE_INFINITY,
  usage: '[(-r|-w)] [-c cache] [-o options]',
  summary: 'reopens an image with new options',
  help: `
 Changes options of the open image; what is not named stays.

 reopen -o lazy-refcounts=on     lets a qcow2 image write its reference counts later

 -r           for reading only
 -w           for reading and writing
 -c cache     none, writeback, writethrough, directsync or unsafe
 -o options   options of the node

`,
  async run(shell, words) {
    const change = readChange(shell, words)
    await shell.aio.flush()
    await reopen(shell, change)
    return true
  },
}

function readChange(shell: Shell, words: readonly string[]): Change {
  const change: Change = { readOnly: undefined, cache: undefined, options: {} }
  const operands = getopt(words.slice(1), { short: 'c:o:rw' }, (letter, argument) => {
    if (letter === 'c') change.cache = cacheMode(argument, `Invalid cache option: ${argument}`)
    else if (letter === 'o') change.options = optionList(shell, argument)
    else if (change.readOnly !== undefined) throw new ToolError('Only one -r/-w option may be given')
    else change.readOnly = letter === 'r'
    return true
  })
  if (operands.length > 0) throw new UsageFailure()
  const says = (key: string) => Object.hasOwn(change.options, key)
  if (change.readOnly !== undefined && says('read-only')) throw new ToolError("Cannot set both -r/-w and 'read-only'")
  if (change.cache !== undefined && (says('cache.direct') || says('cache.no-flush'))) {
    throw new ToolError('Cannot set both -c and the cache options')
  }
  return change
}

async function reopen(shell: Shell, { readOnly, cache, options }: Change): Promise<void> {
  const { node, backend } = shell.opened
  const wanted: Record<string, OptionScalar> = { ...options }
  if (readOnly !== undefined) wanted['read-only'] = readOnly
  if (cache !== undefined) {
    wanted['cache.direct'] = (cache.flags & BDRV_O_NOCACHE) !== 0
    wanted['cache.no-flush'] = (cache.flags & BDRV_O_NO_FLUSH) !== 0
  }
  const { perm, shared } = backend.permissions
  await shell.session.graph.mainLoop(async (main) => {
    if (readOnly === true) await backend.setPermissions(main, perm & ~(BLK_PERM_WRITE | BLK_PERM_RESIZE), shared)
    const quiet = await drained(node)
    try {
      await reopenNodes(main, quiet, [{ node, options: wanted, keepOld: true }])
    } catch (thrown) {
      if (readOnly === true) await backend.setPermissions(main, perm, shared)
      throw refusal(thrown)
    } finally {
      quiet.end()
    }
  }, 'reopening')
  if (cache !== undefined) backend.root.writeCache = !cache.writethrough
}

const READ_ONLY_TEXT = 'Block node is read-only'
const FORCE_SHARE_TEXT = 'force-share=on can only be used with read-only images'

/** The words of the field for what a reopen refuses. */
function refusal(thrown: unknown): ToolError {
  const message = messageText(thrown)
  if (thrown instanceof BlockError && message === READ_ONLY_TEXT) {
    return new ToolError(`Read-only block node '${thrown.node ?? ''}' cannot support read-write users`)
  }
  if (message === FORCE_SHARE_TEXT) return new ToolError("Cannot change the option 'force-share'")
  const missing = /^there is no node '(.*)'$/.exec(message)?.[1]
  if (missing !== undefined) return new ToolError(`Cannot find device='' nor node-name='${missing}'`)
  const fixed = /option '([^']*)'(?: cannot change| of an open node|$)/.exec(message)?.[1]
  if (fixed !== undefined) return new ToolError(`Cannot change the option '${fixed}'`)
  if (thrown instanceof BlockError && thrown.op === 'flush') {
    return new ToolError(`Error flushing drive: ${errnoText(thrown)}`)
  }
  return new ToolError(message)
}
