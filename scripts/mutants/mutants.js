// Faults to plant in graph and drain code, one at a time: each is a text that stands exactly once in its file, and what to put in
// its place. The suite has to find every one of them.

/**
 * @typedef {object} Mutant
 * @property {string} name what is wrong with it
 * @property {string} file path below the root of the repository
 * @property {string} find text that occurs exactly once
 * @property {string} replace
 */

/** @type {Mutant[]} */
export const mutants = [
  {
    name: 'the parent is not released when its edge is detached',
    file: 'src/global-state/edit/edge.ts',
    find: 'if (!change.edge.linked || change.edge.node.state.quiesceCounter === 0) edgeUnlinking(change.edge)',
    replace: 'if (change.edge.linked && change.edge.node.state.quiesceCounter === 0) edgeUnlinking(change.edge)',
  },
  {
    name: 'a parent of two edges is released in between',
    file: 'src/global-state/edit/edge.ts',
    find: 'if (edge.linked && edge.node.state.quiesceCounter > 0) edgeLinked(edge)',
    replace: 'if (edge.linked) edgeLinked(edge)',
  },
  {
    name: 'an edge to a drained node does not tell its parent',
    file: 'src/global-state/edit/edge.ts',
    find: 'if (edge.linked && edge.node.state.quiesceCounter > 0) edgeLinked(edge)',
    replace: 'if (edge.linked && edge.node.state.quiesceCounter < 0) edgeLinked(edge)',
  },
  {
    name: 'a new node does not know of open drain-alls',
    file: 'src/global-state/life/open.ts',
    find: 'node.state.quiesceCounter = drainAllDepth',
    replace: 'node.state.quiesceCounter = 0',
  },
  {
    name: 'a node closed inside a drain-all keeps its counter',
    file: 'src/global-state/life/close.ts',
    find: 'const owed = graph.drainAllDepth',
    replace: 'const owed = 0 * graph.drainAllDepth',
  },
  {
    name: 'permissions are summed before the edges have moved',
    file: 'src/global-state/edit/permission-update.ts',
    find: `  for (const edge of plan.parentsOf(node)) {
    const pair = permissionsOf(edge)`,
    replace: `  for (const edge of node.parents) {
    const pair = permissionsOf(edge)`,
  },
  {
    name: 'conflicts of users are not looked for',
    file: 'src/global-state/edit/permission-update.ts',
    find: 'const contested = sum.perm & ~sum.shared',
    replace: 'const contested = 0 & sum.perm & ~sum.shared',
  },
  {
    name: 'a permission update stops below the first node',
    file: 'src/global-state/edit/permission-update.ts',
    find: '    round = next\n',
    replace: '    round = next.size > 0 && round.size > 1 ? next : new Set()\n',
  },
  {
    name: 'what drivers prepared is not rolled back',
    file: 'src/global-state/edit/apply-plan.ts',
    find: "  } catch (thrown) {\n    finish(plan, prepared, 'abort')\n",
    replace: '  } catch (thrown) {\n',
  },
  {
    name: 'the graph is changed before drivers had their say',
    file: 'src/global-state/edit/apply-plan.ts',
    find: '  const prepared: PreparedChange[] = []\n',
    replace:
      '  const prepared: PreparedChange[] = []\n  for (const [edge, pair] of update.edges) edge.perm = pair.perm\n',
  },
  {
    name: 'what another call committed meanwhile is not looked at again',
    file: 'src/global-state/edit/apply-plan.ts',
    find: 'if (commitsOf(plan) === before && !late) {',
    replace: 'if (commitsOf(plan) >= before && !late) {',
  },
  {
    name: 'a link frozen while drivers prepare is changed all the same',
    file: 'src/global-state/edit/apply-plan.ts',
    find: 'edge.frozen || (kind',
    replace: '(kind',
  },
  {
    name: 'frozen links are not looked at',
    file: 'src/global-state/edit/apply-plan.ts',
    find: '    refuseFrozen(edge, op)\n',
    replace: '    if (op === "") refuseFrozen(edge, op)\n',
  },
  {
    name: 'the drained section need not cover what an edit touches',
    file: 'src/global-state/edit/apply-plan.ts',
    find: 'if (quiet !== undefined) checkCover(plan, quiet, op)',
    replace: 'if (quiet === undefined && op === "") checkCover(plan, quiet as never, op)',
  },
  {
    name: 'rings are not looked for',
    file: 'src/global-state/edit/apply-plan.ts',
    find: "if (change.kind !== 'detach' && reaches(",
    replace: "if (change.kind !== 'detach' && op === '' && reaches(",
  },
  {
    name: 'a replace moves edges that lie below the new node',
    file: 'src/global-state/edit/graph-edit.ts',
    find: 'if (parent !== undefined && reaches(plan, to, parent)) continue',
    replace: 'if (parent !== undefined && parent === from) continue',
  },
  {
    name: 'a replace moves those who stay at their node',
    file: 'src/global-state/edit/graph-edit.ts',
    find: 'if (edge.parent.stayAtNode === true) continue',
    replace: 'if (edge.frozen === undefined) continue',
  },
  {
    name: 'a token lives on after its section',
    file: 'src/global-state/main-loop.ts',
    find: 'this.#live = false',
    replace: 'this.#live = true',
  },
  {
    name: 'a section does not wait for the calls it began',
    file: 'src/global-state/main-loop.ts',
    find: 'while (this.#calls.size > 0) await',
    replace: 'while (this.#calls.size < 0) await',
  },
  {
    name: 'a plain write does not raise the write generation',
    file: 'src/io/stages/settle.ts',
    find: `export function settlePlainWrite(state: RequestState, end: Offset): void {
  state.writeGeneration++`,
    replace: 'export function settlePlainWrite(state: RequestState, end: Offset): void {',
  },
  {
    name: 'a plain write is not tracked',
    file: 'src/io/write.ts',
    find: "return track(state, 'write', offset, data.length, pending)",
    replace: 'return pending',
  },
  {
    name: 'a relayed request ends with whatever was tracked last',
    file: 'src/io/stages/track.ts',
    find: 'pending === latestPromise && state.node.io.relays',
    replace: 'state.node.io.relays',
  },
  {
    name: 'serialising copies that cross each other wait',
    file: 'src/io/stages/serialise.ts',
    find: ' && !endsAfter(other, request)',
    replace: '',
  },
  {
    name: 'a plain write in flight is not recorded by a new bitmap',
    file: 'src/io/stages/settle.ts',
    find: 'if (state.bitmaps.length > 0) markBitmaps(state, offset, bytes)',
    replace: 'if (state.bitmaps.length < 0) markBitmaps(state, offset, bytes)',
  },
  {
    name: 'a filter forwards a discard it never saw',
    file: 'src/io/discard.ts',
    find: '|| node.io.discard === undefined) return undefined',
    replace:
      ') return undefined\n  if (node.io.discard === undefined) return node.file === undefined ? undefined : discard(node.file, offset, inside)',
  },
  {
    name: 'held requests start without looking again',
    file: 'src/io/backend/root.ts',
    find: 'while (root.held.size > 0 && !(root.holdWhileDrained && root.quiesced > 0)) root.held.startFirst()',
    replace: 'while (root.held.size > 0) root.held.startFirst()',
  },
  {
    name: 'requests that arrive late overtake those that are held',
    file: 'src/io/backend/root.ts',
    find: `export function mustHold(root: BackendRoot): boolean {
  return root.holdWhileDrained && (root.quiesced > 0 || root.held.size > 0)`,
    replace: `export function mustHold(root: BackendRoot): boolean {
  return root.holdWhileDrained && root.quiesced > 0`,
  },
  {
    name: 'a root does not say that it counts requests in flight',
    file: 'src/io/backend/root.ts',
    find: 'return this.inFlight > 0 || this.#client?.busy?.() === true',
    replace: 'return this.#client?.busy?.() === true',
  },
  {
    name: 'the end of a root request wakes nobody',
    file: 'src/io/backend/admit.ts',
    find: 'if (root.quiesced !== 0) wakeDrains(root.environment)',
    replace: 'if (root.quiesced < 0) wakeDrains(root.environment)',
  },
  {
    name: 'held requests are a stack',
    file: 'src/io/backend/waiting-list.ts',
    find: `  startFirst(): void {
    for (const waiting of this.#waiting) {`,
    replace: `  startFirst(): void {
    for (const waiting of [...this.#waiting].reverse()) {`,
  },
  {
    name: 'an aborted request stays in the list of held ones',
    file: 'src/io/backend/waiting-list.ts',
    find: '      this.#waiting.delete(waiting)\n      cancel(',
    replace: '      cancel(',
  },
  {
    name: 'a closed backend keeps what it holds',
    file: 'src/io/backend/root.ts',
    find: "  root.held.cancelAll('the backend was closed')\n",
    replace: '',
  },
  {
    name: 'a fan-out leaves early',
    file: 'src/io/settle-all.ts',
    find: 'const outcomes = await Promise.allSettled(started)',
    replace: 'await Promise.all(started)\n  const outcomes = await Promise.allSettled(started)',
  },
  {
    name: 'the end of a section does not release the ancestors',
    file: 'src/io/quiesce.ts',
    find: 'for (const edge of [...node.parents]) if (edge.quiesced) tellEnd(edge, work)',
    replace:
      'for (const edge of [...node.parents]) if (edge.quiesced && edge.parent.node === undefined) tellEnd(edge, work)',
  },
  {
    name: 'a nested section tells the parents again',
    file: 'src/io/quiesce.ts',
    find: 'for (const edge of [...node.parents]) if (!edge.quiesced) tellBegin(edge, work)',
    replace: 'for (const edge of [...node.parents]) tellBegin(edge, work)',
  },
  {
    name: 'a drain looks only once more',
    file: 'src/io/drained.ts',
    find: 'while (busyReason(nodes) !== undefined) {',
    replace: 'for (let look = 0; look < 1 && busyReason(nodes) !== undefined; look++) {',
  },
  {
    name: 'a drain looks at its own nodes only',
    file: 'src/io/ancestors.ts',
    find: '      if (edge.parent.node !== undefined) found.add(edge.parent.node)\n      else if (edge.parent.busy',
    replace: '      if (edge.parent.node !== undefined) continue\n      else if (edge.parent.busy',
  },
  {
    name: 'a drain that is aborted leaves its nodes quiesced',
    file: 'src/io/drained.ts',
    find: '      endQuiesce(nodes)\n      throw error',
    replace: '      throw error',
  },
]
