// Changing what was chosen when an image was made: asked of its driver, while nothing is in flight.

import { BlockError, quoteOutside } from '../common/error.js'
import { withDrained } from '../io/drained.js'
import { nodeError } from '../io/node-error.js'
import { refreshLength } from '../io/truncate.js'
import type { AmendContext } from './driver.js'
import { readCreationValues } from './life/creation-values.js'
import type { MainLoop } from './main-loop.js'
import type { NodeState } from './node-state.js'
import { readOptions } from './options/option-schema.js'
import type { FlatOptions } from './options/options.js'

/** How an image is changed. */
export interface AmendSettings {
  /** Also does what may end the access to the data (passwords). */
  force?: boolean
  /** Told how far the change is: `done` of `total`, in units of the driver's. */
  progress?(done: number, total: number): void
}

/**
 * Changes the options that the image of `node` was made with; values as a person writes them or as they are. ENOTSUP where the
 * format cannot be changed, EINVAL for an option that is not known or is for creation only, EPERM for a node that is not
 * writable, else what the driver says. A failure leaves a sound image, in which some of it may be changed.
 */
export function amendImage(
  main: MainLoop,
  node: NodeState,
  options: FlatOptions,
  settings: AmendSettings = {},
): Promise<void> {
  return main.call('amendImage', node.environment, async (call) => {
    const { definition, graph } = node
    const details = { node: node.nodeName, op: 'amend' }
    const amend = definition.amend?.bind(definition)
    if (amend === undefined) {
      const message = `Format driver '${definition.name}' does not support option amendment`
      throw new BlockError('ENOTSUP', message, { op: 'amend' })
    }
    if (node.readOnly || node.inactive) throw new BlockError('EPERM', 'the node is read-only', details)
    const values = readAmendOptions(node, options)
    const context: AmendContext = {
      force: settings.force ?? false,
      progress: (done, total) => settings.progress?.(done, total),
      secret: (id) => graph.secrets.lookup(id),
      signal: call.signal,
    }
    try {
      await withDrained([node], async () => {
        await amend(node.driverState, context, values)
        await refreshLength(node)
      })
    } catch (thrown) {
      throw nodeError(thrown, node, 'amend')
    }
  })
}

function readAmendOptions(node: NodeState, options: FlatOptions): Record<string, unknown> {
  const { amendOptions = {}, createOptions = {}, name } = node.definition
  const onlyCreation = Object.keys(options).find(
    (option) => !Object.hasOwn(amendOptions, option) && Object.hasOwn(createOptions, option),
  )
  if (onlyCreation !== undefined) {
    throw new BlockError('EINVAL', `Invalid parameter ${quoteOutside(onlyCreation)}`, {
      op: 'amend',
      hint: 'This option is only supported for image creation',
    })
  }
  return readOptions(amendOptions, readCreationValues(amendOptions, options), { driver: name }).values
}
