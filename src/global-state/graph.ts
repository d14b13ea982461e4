// A graph: its nodes by name, its backends, its drivers, and the door to its main loop.

import { assert } from '../common/assert.js'
import type { Clock } from '../common/clock.js'
import type { ContextTracker } from '../common/context-tracker.js'
import { BlockError, quoteOutside } from '../common/error.js'
import type { HostServices } from '../common/host-services.js'
import type { Trace } from '../common/trace.js'
import { createEnvironment, type IoEnvironment } from '../io/environment.js'
import type { BlockBackend } from './backend.js'
import { type BlockDriver, DriverRegistry } from './driver.js'
import { MainLoop, MainLoopGate } from './main-loop.js'
import { type NamePolicy, sameFolderPolicy } from './name-policy.js'
import { isWellFormedNodeName } from './node-name.js'
import type { NodeState } from './node-state.js'
import { SecretStore } from './secrets.js'

/** How a graph is made. */
export interface BlockGraphOptions {
  /** The drivers it knows, such as `builtinDrivers`. */
  drivers: Iterable<BlockDriver>
  clock?: Clock
  /** Milliseconds somebody may wait for the main loop or a drain before a `stall` event; 5000 by default. */
  stallAfterMs?: number
  /** Makes re-entry, a root request from one's own section and a drain from one's own request immediate errors. */
  tracker?: ContextTracker | undefined
  /** What drivers may ask of the host, such as `nodeServices`; none by default: what needs one is refused with ENOTSUP. */
  services?: HostServices
  /** Decides which names found inside an image may be opened. Default: plain names in the image's own folder. */
  namePolicy?: NamePolicy
}

/** A block graph. All that changes it takes the token that {@link mainLoop} hands out. */
export class BlockGraph {
  readonly environment: IoEnvironment
  readonly registry: DriverRegistry
  readonly namePolicy: NamePolicy
  /** Passwords of encrypted images, by the ids that options name them with. */
  readonly secrets = new SecretStore()
  /** Open drain-alls; a new node begins with as many quiesces. Written by drain-all.ts. */
  drainAllDepth = 0
  /** Rises whenever a node is added or removed. */
  generation = 1
  readonly #gate: MainLoopGate
  readonly #nodes = new Map<string, NodeState>()
  readonly #reserved = new Set<string>()
  readonly #backends = new Set<BlockBackend>()
  #generated = 0

  constructor(options: BlockGraphOptions) {
    this.environment = createEnvironment(options)
    this.registry = new DriverRegistry(options.drivers)
    this.namePolicy = options.namePolicy ?? sameFolderPolicy
    this.#gate = new MainLoopGate(this.environment)
  }

  /** Events of this graph. */
  get trace(): Trace {
    return this.environment.trace
  }

  /** Nodes by name. */
  get nodes(): ReadonlyMap<string, NodeState> {
    return this.#nodes
  }

  get backends(): ReadonlySet<BlockBackend> {
    return this.#backends
  }

  /**
   * Runs `fn` in the main loop: one section at a time, first come first served. `label` names the section in stall
   * reports. The token is dead once `fn` has settled.
   */
  mainLoop<T>(fn: (main: MainLoop) => Promise<T>, label = 'main-loop section'): Promise<T> {
    return MainLoop.section(this.#gate, fn, label)
  }

  /** The node called `name`; ENODEV where there is none. */
  node(name: string): NodeState {
    const node = this.#nodes.get(name)
    if (node === undefined) throw new BlockError('ENODEV', `there is no node ${quoteOutside(name)}`, { op: 'lookup' })
    return node
  }

  /** The backend called `name`. */
  findBackend(name: string): BlockBackend | undefined {
    for (const backend of this.#backends) if (backend.name === name) return backend
    return undefined
  }

  /** Takes `name` (or a generated one) for a node or backend about to be made. Nodes and backends share one namespace. */
  reserveName(main: MainLoop, name: string | undefined): string {
    main.check('reserveName', this.environment)
    if (name === undefined) {
      this.#generated += 1
      // Users cannot type this name: a well-formed one begins with a letter.
      return `#block${String(this.#generated).padStart(3, '0')}`
    }
    if (!isWellFormedNodeName(name)) {
      throw new BlockError(
        'EINVAL',
        `${quoteOutside(name)} is no node name: a letter, then letters, digits, '-', '.', '_', 31 at most`,
        { op: 'name' },
      )
    }
    if (this.#reserved.has(name) || this.#nodes.has(name) || this.findBackend(name) !== undefined) {
      throw new BlockError('EEXIST', `the name ${quoteOutside(name)} is taken`, { op: 'name' })
    }
    this.#reserved.add(name)
    return name
  }

  /** Gives a reserved name back that found no use. */
  releaseName(main: MainLoop, name: string): void {
    main.check('releaseName', this.environment)
    this.#reserved.delete(name)
  }

  /** Registers a node under its reserved name. */
  addNode(main: MainLoop, node: NodeState): void {
    main.check('addNode', this.environment)
    assert(!this.#nodes.has(node.nodeName), `node '${node.nodeName}' is registered already`)
    this.#reserved.delete(node.nodeName)
    this.#nodes.set(node.nodeName, node)
    this.generation += 1
  }

  /** Forgets a closed node. */
  removeNode(main: MainLoop, node: NodeState): void {
    main.check('removeNode', this.environment)
    if (this.#nodes.get(node.nodeName) !== node) return
    this.#nodes.delete(node.nodeName)
    this.generation += 1
  }

  /** Registers a backend under its reserved name. */
  addBackend(main: MainLoop, backend: BlockBackend): void {
    main.check('addBackend', this.environment)
    if (backend.name !== undefined) this.#reserved.delete(backend.name)
    this.#backends.add(backend)
  }

  /** Forgets a closed backend. */
  removeBackend(main: MainLoop, backend: BlockBackend): void {
    main.check('removeBackend', this.environment)
    this.#backends.delete(backend)
  }
}
