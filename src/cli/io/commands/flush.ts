// flush and aio_flush.

import type { IoCommand } from '../command.js'

export const flushCommand: IoCommand = {
  name: 'flush',
  alias: 'f',
  minWords: 0,
  maxWords: 0,
  summary: 'flush all in-core file state to disk',
  async run(shell) {
    try {
      await shell.opened.backend.flush()
      return true
    } catch {
      // A failed flush is told by the exit code alone.
      return false
    } finally {
      shell.aio.deliver()
    }
  },
}

export const aioFlushCommand: IoCommand = {
  name: 'aio_flush',
  minWords: 0,
  maxWords: 0,
  summary: 'completes all outstanding aio requests',
  async run(shell) {
    await shell.aio.flush()
    return true
  },
}
