// What the files of an open pass to each other: who asked, on which graph, with which settings, and how a nested definition
// is opened.

import type { BlockDriver } from '../driver.js'
import type { BlockGraph } from '../graph.js'
import type { MainLoop, MainLoopCall } from '../main-loop.js'
import type { NodeState } from '../node-state.js'
import type { FlatOptions } from '../options/options.js'
import type { FilesAbove, FoundFiles } from './found-files.js'
import type { Inheritance } from './open-options.js'

/** How a node is opened, besides its options. */
export interface OpenSettings {
  /** Guess the format where no `driver` is given. Off by default: a guest can write any header into a raw image. */
  probe?: boolean
  /** Open for metadata only, as an inspecting tool does (`BDRV_O_NO_IO`), or with other extra flags. */
  flags?: number
  signal?: AbortSignal
  /** The node itself is an image in the making, opened for its driver to go on. */
  creating?: boolean
  /** The driver of the node itself, in place of the one named by its options: one that the graph need not know. */
  driver?: BlockDriver
}

/** What a definition is opened for. */
export interface OpenRequest {
  main: MainLoop
  call: MainLoopCall
  graph: BlockGraph
  settings: OpenSettings
  /** Nesting of inline definitions; long chains give the stack a rest now and then. */
  depth: number
  /** Shared by everything that is opened by one request. */
  readonly found: FoundFiles
  /** The files of the images above. */
  readonly above: FilesAbove | undefined
  /** An image named this one, or one above it. */
  readonly named: boolean
  /** Leave the driver's own wishes for its children to a plan that follows (insertion of a filter). */
  deferPermissions: boolean
  /** Opens an inline definition below the one being opened. */
  readonly open: (request: OpenRequest, options: FlatOptions, from: Inheritance) => Promise<NodeState>
}
