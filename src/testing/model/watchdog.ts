// What to say when nothing can run and something is still waited for: a deadlock, with who waits for whom.

import { reportRequests } from '../../io/ancestors.js'
import type { ModelWorld } from './world.js'

/** Throws where something is pending that nothing can end any more. Requests held by an open section may wait. */
export function refuseDeadlock(world: ModelWorld): void {
  const stuck: string[] = []
  for (const edit of world.busyEdits) stuck.push(`edit '${edit.what}'`)
  for (const { nodes, section } of world.sections) {
    if (section === undefined) stuck.push(`a drain of ${nodes?.map((node) => node.nodeName).join() ?? 'all nodes'}`)
  }
  for (const request of world.requests) {
    const root = world.backends.get(request.backend)?.root
    const held = root !== undefined && root.quiesced > 0 && root.held.size > 0
    if (!held) stuck.push(`request ${request.id} (${request.kind} of ${request.backend})`)
  }
  if (stuck.length === 0) return
  throw new Error(
    `deadlock: nothing can run, but these wait:\n  ${stuck.join('\n  ')}\nwait graph:\n  ${waitGraph(world).join('\n  ')}`,
  )
}

/** Who waits for whom: requests, drains and holders of the main loop. */
export function waitGraph(world: ModelWorld): string[] {
  const lines: string[] = []
  for (const node of world.graph.nodes.values()) {
    const { state } = node
    if (state.quiesceCounter > 0) lines.push(`${node.nodeName} is quiesced ${state.quiesceCounter} times`)
    for (const { kind, offset, bytes, ageMs } of reportRequests(state, world.clock.now())) {
      lines.push(`${node.nodeName}: ${kind} ${offset}+${bytes} in flight for ${ageMs} ms`)
    }
  }
  for (const { name, root, node } of world.graph.backends) {
    lines.push(
      `backend ${name} at ${node?.nodeName ?? 'nothing'}: ${root.inFlight} in flight, ${root.held.size} held, ${root.quiesced} sections`,
    )
  }
  lines.push(`${world.graph.environment.drainWaiters.size} drains wait, ${world.busyEdits.length} edits are not over`)
  return lines
}
