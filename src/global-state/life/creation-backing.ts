// A look at the backing file of an image that is to be made: it has to open, and its length is the image's where none is given.

import { BlockError, quoteOutside, toBlockError } from '../../common/error.js'
import { fullBackingFilename, pathHasProtocol } from '../../common/filename.js'
import type { Offset } from '../../common/units.js'
import type { BlockGraph } from '../graph.js'
import type { MainLoop } from '../main-loop.js'
import { isJsonFilename } from '../options/option-text.js'
import { closeNode } from './close.js'
import { protocolOf } from './creation-files.js'
import { openNode } from './open.js'

/** What was found in a backing file. */
export interface BackingFacts {
  /** Name of the driver: the one named, or guessed where none was. */
  format: string
  /** In bytes. */
  length: Offset
}

/**
 * Opens the backing file called `name` of the image `filename`, and closes it again. Codes as opening has, EINVAL for a format
 * that is not known; a hint says that it was the backing file.
 */
export async function lookAtBacking(
  main: MainLoop,
  graph: BlockGraph,
  filename: string,
  name: string,
  format: string | undefined,
): Promise<BackingFacts> {
  const resolved = pathHasProtocol(name) ? name : (fullBackingFilename(filename, name) ?? name)
  try {
    if (format !== undefined && graph.registry.find(format) === undefined) {
      throw new BlockError('EINVAL', `Unknown driver ${quoteOutside(format)}`)
    }
    if (!isJsonFilename(resolved)) protocolOf(graph, resolved)
    const driver = format === undefined ? {} : { driver: format }
    const node = await openNode(
      main,
      graph,
      { ...driver, filename: resolved, 'read-only': true },
      { probe: format === undefined },
    )
    const facts = { format: node.driver.name, length: node.state.length }
    await closeNode(main, node)
    return facts
  } catch (thrown) {
    const error = toBlockError(thrown)
    const hint = [error.hint, 'Could not open backing image.'].filter((line) => line !== undefined).join('\n')
    throw new BlockError(error.code, error.message, { op: 'create', hint, cause: error })
  }
}
