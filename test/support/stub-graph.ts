// Nodes and edges without global state, for tests of the I/O engine: plain objects behind the read-only views, a driver
// in memory whose completions a test holds in its hands, and edges linked by hand.

import type { DriverKind } from '../../src/common/child-role.js'
import { BDRV_CHILD_COW, BDRV_CHILD_FILTERED, BDRV_CHILD_PRIMARY } from '../../src/common/child-role.js'
import { type Bytes, buffersOf } from '../../src/common/io-vector.js'
import { type BlockLimits, defaultLimits } from '../../src/common/limits.js'
import { BDRV_O_INACTIVE, BDRV_O_RDWR, BDRV_O_UNMAP } from '../../src/common/open-flags.js'
import type { DetectZeroes } from '../../src/common/option-names.js'
import { BLK_PERM_ALL } from '../../src/common/permissions.js'
import { BackendRoot, type BackendRootOptions } from '../../src/io/backend/root.js'
import type { BlockChild, BlockDriverState, DriverTraits, ParentHooks } from '../../src/io/block-node.js'
import { edgeLinked, edgeUnlinking } from '../../src/io/drained.js'
import { createEnvironment, type IoEnvironment } from '../../src/io/environment.js'
import type { Completion, NodeIo } from '../../src/io/node-io.js'
import { createRequestState, type RequestState } from '../../src/io/request-state.js'
import { VirtualClock } from './virtual-clock.js'

/** What may be chosen for a stub node. */
export interface StubNodeOptions {
  name?: string
  kind?: DriverKind
  driver?: string
  supportsBacking?: boolean
  openFlags?: number
  detectZeroes?: DetectZeroes
  limits?: Partial<BlockLimits>
  length?: number
  writeFlags?: number
  zeroFlags?: number
  truncateFlags?: number
  environment?: IoEnvironment
}

/** A node of a test. */
export class StubNode implements BlockDriverState {
  nodeName: string
  driver: DriverTraits
  io: NodeIo
  readonly state: RequestState
  openFlags: number
  detectZeroes: DetectZeroes
  closed = false
  children: StubEdge[] = []
  parents = new Set<StubEdge>()

  constructor(io: NodeIo, options: StubNodeOptions = {}) {
    this.nodeName = options.name ?? `node${serial++}`
    this.driver = {
      name: options.driver ?? 'stub',
      kind: options.kind ?? 'protocol',
      supportsBacking: options.supportsBacking ?? false,
    }
    this.io = io
    this.openFlags = options.openFlags ?? BDRV_O_RDWR | BDRV_O_UNMAP
    this.detectZeroes = options.detectZeroes ?? 'off'
    const environment = options.environment ?? createEnvironment({ clock: new VirtualClock() })
    this.state = createRequestState(environment, this, { ...defaultLimits(), ...options.limits })
    this.state.writeFlags = options.writeFlags ?? 0
    this.state.zeroFlags = options.zeroFlags ?? 0
    this.state.truncateFlags = options.truncateFlags ?? 0
    const length = options.length ?? io.length()
    if (typeof length === 'number') this.state.length = length
  }

  get readOnly(): boolean {
    return (this.openFlags & BDRV_O_RDWR) === 0
  }

  get inactive(): boolean {
    return (this.openFlags & BDRV_O_INACTIVE) !== 0
  }

  get file(): StubEdge | undefined {
    return this.children.find((edge) => edge.name === 'file')
  }

  get backing(): StubEdge | undefined {
    return this.children.find((edge) => edge.name === 'backing')
  }

  /** Parent hooks of the edges below this node. */
  get node(): StubNode {
    return this
  }

  describe(): string {
    return `node '${this.nodeName}'`
  }
}

let serial = 0

/** An edge of a test. */
export class StubEdge implements BlockChild {
  name: string
  role: number
  node: StubNode
  perm: number
  shared = BLK_PERM_ALL
  parent: ParentHooks
  quiesced = false
  frozen = false

  constructor(parent: ParentHooks, node: StubNode, name = 'root', role = BDRV_CHILD_FILTERED | BDRV_CHILD_PRIMARY) {
    this.parent = parent
    this.node = node
    this.name = name
    this.role = role
    this.perm = BLK_PERM_ALL
  }
}

/** Links a child below a node or another parent. */
export function link(parent: ParentHooks, node: StubNode, name = 'file', role?: number): StubEdge {
  const defaultRole = name === 'backing' ? BDRV_CHILD_COW : BDRV_CHILD_FILTERED | BDRV_CHILD_PRIMARY
  const edge = new StubEdge(parent, node, name, role ?? defaultRole)
  node.parents.add(edge)
  if (parent instanceof StubNode) parent.children.push(edge)
  edgeLinked(edge)
  return edge
}

/** Takes an edge out of the graph. */
export function unlink(edge: StubEdge): void {
  edgeUnlinking(edge)
  edge.node.parents.delete(edge)
  const { parent } = edge
  if (parent instanceof StubNode) parent.children = parent.children.filter((other) => other !== edge)
  if (parent instanceof BackendRoot && parent.edge === edge) parent.edge = undefined
}

/** Points an edge at another node. */
export function repoint(edge: StubEdge, node: StubNode): void {
  edge.node.parents.delete(edge)
  edge.node = node
  node.parents.add(edge)
  edgeLinked(edge)
}

/** Hooks of a parent that is no node, with what it was told. */
export class StubParent implements ParentHooks {
  readonly node = undefined
  readonly log: string[] = []
  isBusy = false

  describe(): string {
    return "block device 'test'"
  }

  drainedBegin(): void {
    this.log.push('begin')
  }

  drainedEnd(): void {
    this.log.push('end')
  }

  busy(): boolean {
    return this.isBusy
  }

  resized(_edge: BlockChild, length: number): void {
    this.log.push(`resized ${length}`)
  }
}

/** A root on `node`. */
export function rootOn(node: StubNode, options: Partial<BackendRootOptions> = {}): BackendRoot {
  const root = new BackendRoot({ name: 'disk', environment: node.state.environment, ...options })
  root.edge = link(root, node, 'root')
  return root
}

/** An edge on `node` from a parent that is no node. */
export function edgeOn(node: StubNode, perm = BLK_PERM_ALL): StubEdge {
  const edge = link(new StubParent(), node, 'root')
  edge.perm = perm
  return edge
}

/** One call of a stub driver. */
export interface Call {
  op: string
  offset: number
  bytes: number
  flags: number
}

/** A driver in memory that records its calls, checks that they fit its limits, and completes when told to. */
export class MemoryIo implements NodeIo {
  bytes: Uint8Array
  readonly calls: Call[] = []
  /** Whether calls complete at once, in a microtask, or when the test says so. */
  mode: 'sync' | 'async' | 'held' = 'sync'
  readonly held: { call: Call; finish: (error?: unknown) => void }[] = []
  /** Thrown (by rejection in the async modes) for matching calls. */
  failure: ((call: Call) => unknown) | undefined

  constructor(bytes: Uint8Array | number) {
    this.bytes = typeof bytes === 'number' ? new Uint8Array(bytes) : bytes
  }

  length(): number {
    return this.bytes.byteLength
  }

  read(offset: number, into: Bytes): Completion {
    return this.run({ op: 'read', offset, bytes: into.byteLength, flags: 0 }, () => {
      let at = offset
      for (const buffer of buffersOf(into)) {
        // Memory behind the end is given garbage: only dispatch knows where the node ends.
        buffer.fill(0xee)
        const end = Math.min(at + buffer.byteLength, this.bytes.byteLength)
        if (end > at) buffer.set(this.bytes.subarray(at, end))
        at += buffer.byteLength
      }
    })
  }

  write(offset: number, data: Bytes, flags: number): Completion {
    return this.run({ op: 'write', offset, bytes: data.byteLength, flags }, () => {
      this.ensure(offset + data.byteLength)
      let at = offset
      for (const buffer of buffersOf(data)) {
        this.bytes.set(buffer, at)
        at += buffer.byteLength
      }
    })
  }

  writeZeroes?(offset: number, bytes: number, flags: number): Completion {
    return this.run({ op: 'write-zeroes', offset, bytes, flags }, () => {
      this.ensure(offset + bytes)
      this.bytes.fill(0, offset, offset + bytes)
    })
  }

  discard?(offset: number, bytes: number): Completion {
    return this.run({ op: 'discard', offset, bytes, flags: 0 }, () => {})
  }

  flush?(): Completion {
    return this.run({ op: 'flush', offset: 0, bytes: 0, flags: 0 }, () => {})
  }

  truncate?(length: number): Completion {
    return this.run({ op: 'truncate', offset: length, bytes: 0, flags: 0 }, () => {
      const before = this.bytes
      this.bytes = new Uint8Array(length)
      this.bytes.set(before.subarray(0, length))
    })
  }

  /** Lets everything held so far complete. */
  releaseAll(): void {
    for (const held of this.held.splice(0)) held.finish()
  }

  protected run(call: Call, effect: () => void): Completion {
    this.calls.push(call)
    const act = () => {
      const failure = this.failure?.(call)
      if (failure !== undefined) throw failure
      effect()
    }
    if (this.mode === 'sync') {
      act()
      return undefined
    }
    if (this.mode === 'async') return Promise.resolve().then(act)
    return new Promise((resolve, reject) => {
      this.held.push({
        call,
        finish: (error) => {
          try {
            if (error !== undefined) throw error
            act()
            resolve()
          } catch (thrown) {
            reject(thrown)
          }
        },
      })
    })
  }

  private ensure(length: number): void {
    if (length <= this.bytes.byteLength) return
    const before = this.bytes
    this.bytes = new Uint8Array(length)
    this.bytes.set(before)
  }
}

/** A node over memory. */
export function memoryNode(
  bytes: Uint8Array | number,
  options: StubNodeOptions = {},
): { node: StubNode; io: MemoryIo } {
  const io = new MemoryIo(bytes)
  return { node: new StubNode(io, options), io }
}

/** Takes capabilities away from a driver: an absent method is one that is undefined. */
export function without<T extends NodeIo>(io: T, ...methods: (keyof NodeIo)[]): T {
  for (const method of methods) Object.defineProperty(io, method, { value: undefined, configurable: true })
  return io
}
