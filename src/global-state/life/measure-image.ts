// How large an image would be: asked of the format's driver, with the options of creation.

import { BlockError, quoteOutside } from '../../common/error.js'
import { MAX_LENGTH } from '../../common/limits.js'
import { BLOCK_OPT_SIZE } from '../../common/option-names.js'
import { keepsBitmaps } from '../bitmaps/stored-bitmaps.js'
import type { ImageMeasure, MeasureContext } from '../driver.js'
import type { BlockGraph } from '../graph.js'
import type { MainLoop } from '../main-loop.js'
import type { NodeState } from '../node-state.js'
import { type OptionSchema, readOptions } from '../options/option-schema.js'
import type { FlatOptions } from '../options/options.js'
import { readCreationValues } from './creation-values.js'

/** An image to be measured. */
export interface MeasureImageRequest {
  /** Name of the format driver. */
  format: string
  /** Creation options, as {@link createImage} takes them. */
  options?: FlatOptions
  /** What it is to hold: a disk without data of so many bytes, or all that a reader of a node sees. */
  content: number | NodeState
}

/**
 * Says how large an image would be. EINVAL for a format or an option that is not known, ENOTSUP where the format cannot be
 * created or does not say, EFBIG for a disk that is too large for it.
 */
export function measureImage(main: MainLoop, graph: BlockGraph, request: MeasureImageRequest): Promise<ImageMeasure> {
  return main.call('measureImage', graph.environment, async () => {
    const { content } = request
    const format = graph.registry.find(request.format)
    const refuse = (code: 'EINVAL' | 'ENOTSUP', message: string) => new BlockError(code, message, { op: 'measure' })
    if (format === undefined) throw refuse('EINVAL', `Unknown file format ${quoteOutside(request.format)}`)
    if (format.create === undefined) {
      throw refuse('ENOTSUP', `Format driver '${format.name}' does not support image creation`)
    }
    const given = readCreationValues(measureSchema(graph, format.createOptions), request.options ?? {})
    if (format.measure === undefined) {
      throw refuse('ENOTSUP', `Block driver '${format.name}' does not support size measurement`)
    }
    const source = typeof content === 'number' ? undefined : content
    const size = typeof content === 'number' ? content : content.state.length
    if (size > MAX_LENGTH) {
      throw new BlockError('EFBIG', 'The image size is too large (try using a larger cluster size)', { op: 'measure' })
    }
    const options = { ...given, [BLOCK_OPT_SIZE]: size }
    const { values } = readOptions(format.createOptions ?? {}, options, { driver: format.name })
    const context: MeasureContext = {
      environment: graph.environment,
      source,
      bitmaps: source !== undefined && keepsBitmaps(source) ? storedBitmaps(source) : undefined,
      secret: (id) => graph.secrets.lookup(id),
    }
    return format.measure(context, values)
  })
}

/** Whatever the file below may be told is allowed; it has no say. */
function measureSchema(graph: BlockGraph, own: OptionSchema | undefined): OptionSchema {
  return { ...graph.registry.find('file')?.createOptions, ...own }
}

function storedBitmaps(node: NodeState) {
  return node.state.bitmaps.filter(({ persistent, inconsistent }) => persistent && !inconsistent)
}
