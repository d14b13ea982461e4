// The graph of one command and the images it has open. Everything is closed when the command ends, failed or not.

import type { BlockBackend } from '../global-state/backend.js'
import type { BlockGraph } from '../global-state/graph.js'
import type { MainLoop } from '../global-state/main-loop.js'
import type { NodeState } from '../global-state/node-state.js'
import type { DrainedSection } from '../io/drained.js'
import { realFolderPolicy } from '../platform/name-policy.js'
import { nodeServices } from '../platform/services.js'
import type { SecretDefinition } from './objects.js'
import { printWarning, type Tool } from './tool.js'

/** An image a command works on. */
export interface OpenImage {
  /** As the user wrote it. */
  readonly name: string
  readonly node: NodeState
  readonly backend: BlockBackend
}

/** What a command has open. */
export class Session {
  readonly tool: Tool
  readonly graph: BlockGraph
  readonly images: OpenImage[] = []

  constructor(tool: Tool, graph: BlockGraph) {
    this.tool = tool
    this.graph = graph
  }

  /** Lets the images name `secrets`. */
  defineSecrets(secrets: readonly SecretDefinition[]): void {
    for (const { id, data } of secrets) this.graph.secrets.define(id, data)
  }

  /** Closes one of the images; rejects with the first error once everything is closed. */
  async closeImage(image: OpenImage): Promise<void> {
    this.images.splice(this.images.indexOf(image), 1)
    const { dropHold } = await import('../global-state/life/close.js')
    await this.graph.mainLoop(async (main) => {
      await image.backend.close(main)
      // Another image may have become its user, and closes it then.
      await dropHold(main, image.node)
    }, `closing ${image.name}`)
  }

  /** Closes every image, the last opened first; rejects with the first error once all are closed. */
  async close(): Promise<void> {
    const errors: unknown[] = []
    for (const image of [...this.images].reverse()) {
      await this.closeImage(image).catch((thrown: unknown) => errors.push(thrown))
    }
    if (errors.length > 0) throw errors[0]
  }
}

/** Runs `act` with a new graph and closes what it opened. An error of `act` wins over one of closing. */
export async function withSession<T>(tool: Tool, act: (session: Session) => Promise<T>): Promise<T> {
  const { BlockGraph: Graph } = await import('../global-state/graph.js')
  const session = new Session(tool, new Graph({ drivers: [], services: nodeServices, namePolicy: realFolderPolicy }))
  session.graph.trace.listen((name, event) => {
    if (name === 'warning' && 'message' in event) printWarning(tool, event.message)
  })
  let result: T
  try {
    result = await act(session)
  } catch (thrown) {
    await session.close().catch(() => {
      // The failure that led here is the one to report.
    })
    throw thrown
  }
  await session.close()
  return result
}

/** Runs `act` in the main loop while nothing is in flight on `image`. */
export function drainedOn<T>(
  session: Session,
  image: OpenImage,
  act: (main: MainLoop, quiet: DrainedSection) => Promise<T>,
): Promise<T> {
  return session.graph.mainLoop(async (main) => {
    const { withDrained } = await import('../io/drained.js')
    return withDrained([image.node], (quiet) => act(main, quiet))
  }, `changing ${image.name}`)
}
