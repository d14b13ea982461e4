// The files of an image in the making: made by their protocols, held open for the format, closed when it is done. The format
// may ask for its own image to be opened on them, to go on from there.

import { BlockError, quoteOutside } from '../../common/error.js'
import { pathHasProtocol } from '../../common/filename.js'
import { BDRV_O_NO_BACKING } from '../../common/open-flags.js'
import { BLK_PERM_ALL, BLK_PERM_CONSISTENT_READ, BLK_PERM_RESIZE, BLK_PERM_WRITE } from '../../common/permissions.js'
import type { Offset } from '../../common/units.js'
import type { BlockChild } from '../../io/block-node.js'
import { type BlockBackend, createBackend } from '../backend.js'
import type { BlockDriver, CreateContext, CreateFile, NewImageNode } from '../driver.js'
import type { BlockGraph } from '../graph.js'
import type { MainLoop } from '../main-loop.js'
import type { NodeState } from '../node-state.js'
import { readOptions } from '../options/option-schema.js'
import type { FlatOptions, OptionScalar } from '../options/options.js'
import { closeNode } from './close.js'
import { openNode } from './open.js'

/** The driver of a file name's protocol. EINVAL for one that is not known. */
export function protocolOf(graph: BlockGraph, filename: string): BlockDriver {
  const prefix = pathHasProtocol(filename) ? filename.slice(0, filename.indexOf(':')) : undefined
  const driver = prefix === undefined ? graph.registry.find('file') : graph.registry.findProtocol(prefix)
  if (driver !== undefined) return driver
  throw new BlockError('EINVAL', `Unknown protocol ${quoteOutside(prefix ?? 'file')}`, { op: 'create' })
}

/** Nodes that are open, each with a backend of its own. */
export class CreationFiles {
  readonly #main: MainLoop
  readonly #graph: BlockGraph
  readonly #format: BlockDriver
  /** Options of the protocol that the user gave. */
  readonly #options: FlatOptions
  /** Every file that was made, by its name. */
  readonly #made: { protocol: BlockDriver; filename: string }[] = []
  readonly #open: { node: NodeState; backend: BlockBackend | undefined }[] = []

  constructor(main: MainLoop, graph: BlockGraph, format: BlockDriver, options: FlatOptions) {
    this.#main = main
    this.#graph = graph
    this.#format = format
    this.#options = options
  }

  /** Lets the protocol make the file, and opens it for the format to write. */
  async create(
    filename: string,
    wanted: { size: Offset; preallocation?: string | undefined },
  ): Promise<CreateFile & { node: NodeState }> {
    const protocol = protocolOf(this.#graph, filename)
    const schema = protocol.createOptions ?? {}
    const given: Record<string, OptionScalar> = {}
    for (const [name, value] of Object.entries({ ...this.#options, ...wanted })) {
      if (value !== undefined && Object.hasOwn(schema, name)) given[name] = value
    }
    if (protocol.create === undefined) {
      const message = `Protocol driver '${protocol.name}' does not support image creation`
      throw new BlockError('ENOTSUP', message, { op: 'create' })
    }
    const { values } = readOptions(schema, given, { driver: protocol.name })
    await protocol.create(this.#protocolContext(protocol, filename), values)
    this.#made.push({ protocol, filename })
    const node = await openNode(this.#main, this.#graph, { driver: protocol.name, filename, discard: 'unmap' })
    return { node, edge: await this.#hold(node) }
  }

  /** Opens the image on files made here. */
  async open(children: Readonly<Record<string, CreateFile>>): Promise<NewImageNode> {
    const options: Record<string, unknown> = { driver: this.#format.name, discard: 'unmap' }
    for (const [name, file] of Object.entries(children)) options[name] = await this.#giveUp(file)
    const node = await openNode(this.#main, this.#graph, options, {
      flags: BDRV_O_NO_BACKING,
      creating: true,
    })
    return { edge: await this.#hold(node), state: node.driverState }
  }

  /** Closes every node, the last opened first; then throws the first error. */
  async close(): Promise<void> {
    const errors: unknown[] = []
    const note = (error: unknown) => errors.push(error)
    for (const { backend, node } of this.#open.splice(0).reverse()) {
      await backend?.close(this.#main).catch(note)
      await closeNode(this.#main, node).catch(note)
    }
    if (errors.length > 0) throw errors[0]
  }

  /** Closes every node, and deletes the files, whatever fails: an image that is not whole is none. */
  async discard(): Promise<void> {
    const passOver = (error: unknown) => {
      // The failure that led here is the one to report.
      if (!(error instanceof BlockError)) throw error
    }
    await this.close().catch(passOver)
    for (const { protocol, filename } of this.#made.splice(0).reverse()) {
      await protocol.deleteFile?.(filename).catch(passOver)
    }
  }

  async #hold(node: NodeState): Promise<BlockChild> {
    const entry: { node: NodeState; backend: BlockBackend | undefined } = { node, backend: undefined }
    this.#open.push(entry)
    const perm = BLK_PERM_CONSISTENT_READ | BLK_PERM_WRITE | BLK_PERM_RESIZE
    const options = { node, perm, shared: BLK_PERM_ALL, allowWriteBeyondEof: true }
    entry.backend = await createBackend(this.#main, this.#graph, options)
    const { edge } = entry.backend.root
    if (edge === undefined) throw new BlockError('ENOMEDIUM', 'the new file has gone', { op: 'create' })
    return edge
  }

  /** Another node is to use the file: its permissions here are released. Gives its name. */
  async #giveUp(file: CreateFile): Promise<string> {
    const entry = this.#open.find(({ backend }) => backend?.root.edge === file.edge)
    if (entry === undefined) throw new BlockError('EINVAL', 'a file is used that was not made here', { op: 'create' })
    const { backend } = entry
    entry.backend = undefined
    await backend?.close(this.#main)
    return entry.node.nodeName
  }

  #protocolContext(protocol: BlockDriver, filename: string): CreateContext {
    const refuse = async (): Promise<never> => {
      throw new BlockError('ENOTSUP', `driver '${protocol.name}' is a protocol: no file is below it`, { op: 'create' })
    }
    return {
      environment: this.#graph.environment,
      filename,
      createFile: refuse,
      openImage: refuse,
      secret: (id) => this.#graph.secrets.lookup(id),
      signal: undefined,
    }
  }
}
