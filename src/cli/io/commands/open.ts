// open and close.

import type { FlatOptions } from '../../../global-state/options/options.js'
import { getopt } from '../../getopt.js'
import { CommandFailure, type IoCommand, UsageFailure } from '../command.js'
import { defaultImageFlags, IMAGE_LETTERS, openForCommands, optionList, takeImageFlag } from '../image-flags.js'

export const openCommand: IoCommand = {
  name: 'open',
  alias: 'o',
  minWords: 1,
  maxWords: Number.POSITIVE_INFINITY,
  usage: '[-rsCnkU] [-t cache] [-d discard] [-o options] [path]',
  summary: 'open the file specified by path',
  global: true,
  help: `
 Opens an image for the commands that follow. Its format is guessed where the options do not name a driver.

 open -n -o driver=raw /tmp/data     opens raw data for writing, past the cache of the host

 -r             for reading only
 -s             write to a temporary overlay
 -C             keep in the image what reads fetch from its backing files
 -n             bypass the cache of the host, as -t none does
 -U             let others do with the image what they like
 -k             as -i native
 -i mode        how requests reach the host: threads, native or io_uring
 -t cache       none, writeback, writethrough (default), directsync or unsafe
 -d discard     whether discards reach the image: ignore, or unmap (default)
 -o options     options of the node
`,
  async run(shell, words) {
    const flags = defaultImageFlags()
    let options: FlatOptions = {}
    const operands = getopt(words.slice(1), { short: `${IMAGE_LETTERS}o:` }, (letter, argument) => {
      if (takeImageFlag(flags, letter, argument)) return true
      if (shell.settings.imageOpts) {
        throw new CommandFailure("--image-opts and 'open -o' are mutually exclusive")
      }
      options = { ...options, ...optionList(shell, argument) }
      return true
    })
    const [name, extra] = operands
    if (extra !== undefined) throw new UsageFailure()
    if (shell.settings.imageOpts && name !== undefined) {
      await openForCommands(shell, flags, undefined, optionList(shell, name))
    } else {
      await openForCommands(shell, flags, name, options)
    }
    return true
  },
}

export const closeCommand: IoCommand = {
  name: 'close',
  alias: 'c',
  minWords: 0,
  maxWords: 0,
  summary: 'close the current open file',
  async run(shell) {
    const { opened } = shell
    await shell.aio.flush()
    shell.image = undefined
    await shell.session.closeImage(opened)
    return true
  },
}
