// What a driver's `open` may ask of the graph: its children, and a fall back to read-only.

import { assert } from '../../common/assert.js'
import { BDRV_CHILD_COW, BDRV_CHILD_PRIMARY, type ChildRole } from '../../common/child-role.js'
import type { ErrnoName } from '../../common/errno.js'
import { BlockError, quoteOutside } from '../../common/error.js'
import { fullBackingFilename, pathHasProtocol } from '../../common/filename.js'
import {
  BDRV_O_ALLOW_RDWR,
  BDRV_O_AUTO_RDONLY,
  BDRV_O_NO_BACKING,
  BDRV_O_RDWR,
  type OpenFlags,
} from '../../common/open-flags.js'
import type { IoEnvironment } from '../../io/environment.js'
import type { BlockDriver, OpenContext } from '../driver.js'
import { applyPlan } from '../edit/apply-plan.js'
import { GraphPlan } from '../edit/plan.js'
import type { FoundName } from '../name-policy.js'
import { exactFilename, primaryEdge } from '../node-filename.js'
import type { EdgeState, NodeState } from '../node-state.js'
import { isJsonFilename } from '../options/option-text.js'
import { type FlatOptions, flattenOptions, mentionsChild, splitChild } from '../options/options.js'
import { releaseNode } from './close.js'
import { countFound, type FilesAbove, refuseRing, withFileOf } from './found-files.js'
import type { OpenRequest } from './open-request.js'

interface OpenedChild {
  node: NodeState
  /** Opened by what the node's options, or the image, say of it. */
  inline: boolean
  /** An image named it, or one above it. */
  named: boolean
}

/** The context of one node being opened. Dead once `open` has settled. */
export class OpenNodeContext implements OpenContext {
  readonly #request: OpenRequest
  readonly #node: NodeState
  #rest: FlatOptions
  #probedFile: NodeState | undefined
  /** Whether the node was opened as the file of a format. */
  readonly #protocolFlag: OpenFlags
  #live = true

  constructor(
    request: OpenRequest,
    node: NodeState,
    rest: FlatOptions,
    probedFile: NodeState | undefined,
    protocolFlag: OpenFlags,
  ) {
    this.#protocolFlag = protocolFlag
    this.#request = request
    this.#node = node
    this.#rest = rest
    this.#probedFile = probedFile
    if (rest.backing === null) node.openFlags |= BDRV_O_NO_BACKING
  }

  get nodeName(): string {
    return this.#node.nodeName
  }

  get environment(): IoEnvironment {
    return this.#request.graph.environment
  }

  get openFlags(): OpenFlags {
    return this.#node.openFlags
  }

  get readOnly(): boolean {
    return this.#node.readOnly
  }

  get node(): NodeState {
    return this.#node
  }

  get probed(): boolean {
    return this.#node.probed
  }

  get creating(): boolean {
    const { settings, depth } = this.#request
    return depth === 0 && settings.creating === true
  }

  get drivers(): readonly BlockDriver[] {
    return this.#request.graph.registry.list()
  }

  get signal(): AbortSignal | undefined {
    return this.#request.settings.signal
  }

  secret(id: string): Uint8Array {
    return this.#request.graph.secrets.lookup(id)
  }

  applyAutoReadOnly(code: ErrnoName, message: string): void {
    const node = this.#node
    if (node.readOnly) return
    if ((node.openFlags & BDRV_O_AUTO_RDONLY) === 0)
      throw new BlockError(code, message, { node: node.nodeName, op: 'open' })
    node.openFlags &= ~(BDRV_O_RDWR | BDRV_O_ALLOW_RDWR)
    node.options = { ...node.options, 'read-only': true }
  }

  childOption(name: string): 'given' | 'none' | 'absent' {
    if (name === 'file' && this.#probedFile !== undefined) return 'given'
    return mentionsChild(this.#rest, name)
  }

  hasChild(name: string): boolean {
    return this.childOption(name) === 'given'
  }

  async child(name: string, role: ChildRole, defaults: Record<string, unknown> = {}): Promise<EdgeState> {
    assert(this.#live, `child '${name}' asked for after open had settled`)
    const { node, inline, named } = await this.#openedChild(name, role, defaults)
    const { main, call } = this.#request
    try {
      if (named) refuseRing(node, this.#above(role), this.nodeName)
      const plan = new GraphPlan()
      const edge = plan.attach(this.#node, node, name, role)
      await applyPlan(call, plan, undefined, 'open')
      if (inline) node.inheritsFrom = this.#node
      return edge
    } catch (thrown) {
      if (inline) await releaseNode(main, node, call)
      throw thrown
    }
  }

  notice(message: string): void {
    this.environment.trace.emit('notice', { node: this.nodeName, message })
  }

  warn(message: string): void {
    this.environment.trace.emit('warning', { node: this.nodeName, message })
  }

  /** EINVAL where options are left that nobody took, naming driver and option. */
  refuseLeftovers(): void {
    this.close()
    const [left] = Object.entries(this.#rest)
      .filter(([key, value]) => !(key === 'backing' && value === null && this.#node.driver.supportsBacking))
      .map(([key]) => key)
    if (left === undefined) return
    const { driver, nodeName } = this.#node
    throw new BlockError('EINVAL', `${driver.kind} driver '${driver.name}' does not support the option '${left}'`, {
      node: nodeName,
      op: 'open',
    })
  }

  /** Ends the context. */
  close(): void {
    this.#live = false
  }

  /** A chain says which of its links does not open. */
  async #openedChild(name: string, role: ChildRole, defaults: Record<string, unknown>): Promise<OpenedChild> {
    try {
      return await this.#childNode(name, role, defaults)
    } catch (thrown) {
      if ((role & BDRV_CHILD_COW) === 0 || !(thrown instanceof BlockError)) throw thrown
      const { code, op, hint } = thrown
      throw new BlockError(code, `Could not open backing file: ${thrown.message}`, { op, hint, cause: thrown })
    }
  }

  async #childNode(name: string, role: ChildRole, defaults: Record<string, unknown>): Promise<OpenedChild> {
    const { graph } = this.#request
    if (name === 'file' && this.#probedFile !== undefined) {
      const node = this.#probedFile
      this.#probedFile = undefined
      this.#rest = splitChild(this.#rest, name).own
      return { node, inline: true, named: this.#request.named }
    }
    const split = splitChild(this.#rest, name)
    this.#rest = split.own
    if (typeof split.reference === 'string') return { node: graph.node(split.reference), inline: false, named: false }
    const { options, found } =
      split.reference === null
        ? { options: {}, found: false }
        : await this.#withDefaults(split.child, flattenOptions(defaults), role)
    if (Object.keys(options).length === 0) {
      throw new BlockError('EINVAL', `driver '${this.#node.driver.name}' needs a child '${name}'`, {
        node: this.nodeName,
        op: 'open',
      })
    }
    const named = found || this.#request.named
    return { node: await this.#open(options, role, named), inline: true, named }
  }

  /** What the user says of a child before what its parent would open. A file name of the latter stood in the image. */
  async #withDefaults(
    given: FlatOptions,
    defaults: FlatOptions,
    role: ChildRole,
  ): Promise<{ options: FlatOptions; found: boolean }> {
    const { filename, ...others } = defaults
    if (typeof filename !== 'string') return { options: { ...defaults, ...given }, found: false }
    if (Object.hasOwn(given, 'filename') || mentionsChild(given, 'file') !== 'absent') {
      return { options: { ...others, ...given }, found: false }
    }
    const resolved = await this.#resolveFound(filename, (role & BDRV_CHILD_COW) !== 0 ? 'backing' : 'data-file')
    return { options: { ...others, filename: resolved, ...given }, found: true }
  }

  /** The full name of what an image names, if the graph's policy lets it be opened. */
  async #resolveFound(name: string, use: FoundName['use']): Promise<string> {
    countFound(this.#request.found, this.#request.depth, this.nodeName)
    const file = primaryEdge(this.#node)?.node
    const image = file === undefined ? undefined : exactFilename(file)
    const resolved = pathHasProtocol(name) ? name : (fullBackingFilename(image ?? '', name) ?? name)
    await this.#request.graph.namePolicy({ image, name, resolved, use })
    this.#request.call.resumed()
    // Whatever the policy: options inside a name would open any driver with anything.
    if (!isJsonFilename(resolved)) return resolved
    throw new BlockError('EACCES', `${use} ${quoteOutside(name)} named by the image is not opened: it holds options`, {
      node: this.nodeName,
      op: 'open',
    })
  }

  /** The files above a child: what is no part of the image itself stands below its file. */
  #above(role: ChildRole): FilesAbove | undefined {
    const { above } = this.#request
    return (role & BDRV_CHILD_PRIMARY) !== 0 ? above : withFileOf(this.#node, above)
  }

  #open(options: FlatOptions, role: ChildRole, named: boolean): Promise<NodeState> {
    const parentFlags = this.#node.openFlags | this.#protocolFlag
    const parentOptions = this.#node.options
    const settings =
      (role & BDRV_CHILD_COW) !== 0 ? { ...this.#request.settings, probe: false } : this.#request.settings
    const { depth } = this.#request
    const above = this.#above(role)
    const request = { ...this.#request, settings, depth: depth + 1, above, named, deferPermissions: false }
    return request.open(request, options, { parentKind: this.#node.driver.kind, parentFlags, parentOptions, role })
  }
}
