// What a driver's `open` may ask of the graph: its children, and a fall back to read-only.

import { assert } from '../../common/assert.js'
import { BDRV_CHILD_COW, type ChildRole } from '../../common/child-role.js'
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
import type { OpenRequest } from './open-request.js'

/** Images that are named inside images, one below the other. Longer chains are a ring, or meant to hurt; options may go deeper. */
const MOST_FOUND = 200

/** The context of one node being opened. Dead once `open` has settled. */
export class OpenNodeContext implements OpenContext {
  readonly #request: OpenRequest
  readonly #node: NodeState
  #rest: FlatOptions
  #probedFile: NodeState | undefined
  #live = true

  constructor(request: OpenRequest, node: NodeState, rest: FlatOptions, probedFile: NodeState | undefined) {
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
    const { node, inline } = await this.#openedChild(name, role, defaults)
    const { main, call } = this.#request
    try {
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
  async #openedChild(
    name: string,
    role: ChildRole,
    defaults: Record<string, unknown>,
  ): Promise<{ node: NodeState; inline: boolean }> {
    try {
      return await this.#childNode(name, role, defaults)
    } catch (thrown) {
      if ((role & BDRV_CHILD_COW) === 0 || !(thrown instanceof BlockError)) throw thrown
      const { code, op, hint } = thrown
      throw new BlockError(code, `Could not open backing file: ${thrown.message}`, { op, hint, cause: thrown })
    }
  }

  async #childNode(
    name: string,
    role: ChildRole,
    defaults: Record<string, unknown>,
  ): Promise<{ node: NodeState; inline: boolean }> {
    const { graph } = this.#request
    if (name === 'file' && this.#probedFile !== undefined) {
      const node = this.#probedFile
      this.#probedFile = undefined
      this.#rest = splitChild(this.#rest, name).own
      return { node, inline: true }
    }
    const split = splitChild(this.#rest, name)
    this.#rest = split.own
    if (typeof split.reference === 'string') return { node: graph.node(split.reference), inline: false }
    const options =
      split.reference === null ? {} : await this.#withDefaults(split.child, flattenOptions(defaults), role)
    if (Object.keys(options).length === 0) {
      throw new BlockError('EINVAL', `driver '${this.#node.driver.name}' needs a child '${name}'`, {
        node: this.nodeName,
        op: 'open',
      })
    }
    return { node: await this.#open(options, role), inline: true }
  }

  /** What the user says of a child before what its parent would open. A file name of the latter stood in the image. */
  async #withDefaults(given: FlatOptions, defaults: FlatOptions, role: ChildRole): Promise<FlatOptions> {
    const { filename, ...others } = defaults
    if (typeof filename !== 'string') return { ...defaults, ...given }
    if (Object.hasOwn(given, 'filename') || mentionsChild(given, 'file') !== 'absent') return { ...others, ...given }
    const resolved = await this.#resolveFound(filename, (role & BDRV_CHILD_COW) !== 0 ? 'backing' : 'data-file')
    return { ...others, filename: resolved, ...given }
  }

  /** The full name of what an image names, if the graph's policy lets it be opened. */
  async #resolveFound(name: string, use: FoundName['use']): Promise<string> {
    if (this.#request.depth >= MOST_FOUND) {
      throw new BlockError('ELOOP', `images name each other more than ${MOST_FOUND} deep`, {
        node: this.nodeName,
        op: 'open',
      })
    }
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

  #open(options: FlatOptions, role: ChildRole): Promise<NodeState> {
    const { parentFlags, parentOptions } = { parentFlags: this.#node.openFlags, parentOptions: this.#node.options }
    const settings =
      (role & BDRV_CHILD_COW) !== 0 ? { ...this.#request.settings, probe: false } : this.#request.settings
    const request = { ...this.#request, settings, depth: this.#request.depth + 1, deferPermissions: false }
    return request.open(request, options, { parentKind: this.#node.driver.kind, parentFlags, parentOptions, role })
  }
}
