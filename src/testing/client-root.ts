// A user of a node that is no backend, as a job is: an edge of its own with hooks that a test decides. It can be busy, stay at
// its node when others move, and says when it has come to rest.

import type { ChildRole } from '../common/child-role.js'
import { BLK_PERM_ALL, type PermissionPair } from '../common/permissions.js'
import { applyPlan } from '../global-state/edit/apply-plan.js'
import { GraphPlan } from '../global-state/edit/plan.js'
import type { BlockGraph } from '../global-state/graph.js'
import type { MainLoop } from '../global-state/main-loop.js'
import type { EdgeState, NodeState } from '../global-state/node-state.js'
import type { BlockChild, ParentHooks } from '../io/block-node.js'
import { type DrainedSection, drained } from '../io/drained.js'
import { wakeDrains } from '../io/environment.js'

/** What a test wants to hear, and whether the client is at work. */
export interface ClientHooks {
  drainedBegin?(): void
  drainedEnd?(): void
  busy?(): boolean
  resized?(length: number): void
}

/** The client. `begins - ends` is how many of its edges are quiesced. */
export class ClientRoot implements ParentHooks {
  readonly node = undefined
  readonly name: string
  readonly stayAtNode: boolean
  readonly edges: EdgeState[] = []
  begins = 0
  ends = 0
  /** Work under way; while it is above 0 a drain waits. */
  working = 0
  readonly #graph: BlockGraph
  readonly #hooks: ClientHooks

  constructor(graph: BlockGraph, name: string, hooks: ClientHooks = {}, stayAtNode = false) {
    this.#graph = graph
    this.name = name
    this.stayAtNode = stayAtNode
    this.#hooks = hooks
  }

  describe(): string {
    return `client '${this.name}'`
  }

  /** Whether it has been told to stop. */
  get quiesced(): boolean {
    return this.begins > this.ends
  }

  drainedBegin(): void {
    this.begins++
    this.#hooks.drainedBegin?.()
  }

  drainedEnd(): void {
    this.ends++
    this.#hooks.drainedEnd?.()
  }

  busy(): boolean {
    return this.working > 0 || this.#hooks.busy?.() === true
  }

  resized(_edge: BlockChild, length: number): void {
    this.#hooks.resized?.(length)
  }

  /** Begins work that a drain has to wait for; call what is returned to end it. */
  begin(): () => void {
    this.working++
    return () => {
      this.working--
      wakeDrains(this.#graph.environment)
    }
  }

  /** Links the client to `node`. EPERM where permissions conflict. */
  attach(
    main: MainLoop,
    node: NodeState,
    name = 'job',
    wish: Partial<PermissionPair> = {},
    role: ChildRole = 0,
  ): Promise<EdgeState> {
    return main.call('ClientRoot.attach', this.#graph.environment, async (call) => {
      const plan = new GraphPlan()
      const edge = plan.attach(this, node, name, role, { perm: wish.perm ?? 0, shared: wish.shared ?? BLK_PERM_ALL })
      await applyPlan(call, plan, undefined, 'attach')
      this.edges.push(edge)
      return edge
    })
  }

  /** Takes a link away. `quiet`, where given, has to cover the node; else the client drains it. The node is not closed. */
  detach(main: MainLoop, edge: EdgeState, quiet?: DrainedSection): Promise<void> {
    return main.call('ClientRoot.detach', this.#graph.environment, async (call) => {
      const section = quiet ?? (await drained(edge.node))
      try {
        const plan = new GraphPlan()
        plan.unconditional = true
        plan.detach(edge)
        await applyPlan(call, plan, section, 'detach')
        this.edges.splice(this.edges.indexOf(edge), 1)
      } finally {
        if (quiet === undefined) section.end()
      }
    })
  }
}
