// Runs an edit in a main-loop section and judges it: what is legal succeeds, what is not fails with a right code and leaves the
// graph as it was, to the byte (invariant 17).

import { AssertionFailure } from '../../common/assert.js'
import { type ErrnoName, isErrnoName } from '../../common/errno.js'
import type { MainLoop } from '../../global-state/main-loop.js'
import { graphDifference, serialiseGraph } from '../serialise-graph.js'
import { type Attempt, attemptOf } from './attempts.js'
import type { EditCommand } from './command.js'
import { lifeAttemptOf } from './life-attempts.js'
import { widen } from './requests.js'
import type { ModelWorld, RunningEdit } from './world.js'

/** Asks for a main-loop section in which `command` is carried out. */
export function startEdit(world: ModelWorld, command: EditCommand): RunningEdit {
  const edit: RunningEdit = { what: command.type, settled: false, outcome: 'skipped' }
  world.edits.push(edit)
  const running = world.graph.mainLoop(async (main) => {
    const attempt = attemptOf(world, command) ?? lifeAttemptOf(world, command)
    if (attempt === undefined) return
    edit.what = attempt.what
    world.editing = true
    try {
      edit.outcome = await carryOut(world, main, attempt)
    } finally {
      world.editing = false
    }
  }, `edit ${world.edits.length}`)
  running.then(
    () => {
      edit.settled = true
    },
    (error: unknown) => {
      edit.settled = true
      edit.outcome = 'wrong'
      world.faults.push(`${edit.what}: ${String(error)}`)
    },
  )
  return edit
}

async function carryOut(world: ModelWorld, main: MainLoop, attempt: Attempt): Promise<'done' | 'refused'> {
  const before = serialiseGraph(world.graph)
  const injectedBefore = world.injected
  let adopted = false
  const adopt = () => {
    if (adopted) return
    adopted = true
    world.model.adopt(attempt.outcome.after)
    for (const request of world.requests) widen(world, request)
  }
  const refusalsBefore = world.log.refusals
  let error: unknown
  try {
    await attempt.act(main, adopt)
    if (!adopted) adopt()
  } catch (thrown) {
    error = thrown
  }
  const refusedByDriver = world.log.refusals > refusalsBefore
  world.log.vetoPermissions.clear()
  world.log.vetoReopen.clear()
  if (error === undefined) return judgeSuccess(attempt, refusedByDriver)
  const code = codeOf(error)
  const injected = world.injected > injectedBefore && (code === 'EIO' || code === 'ENOSPC')
  const after = serialiseGraph(world.graph)
  const unchanged = after === before
  if (injected && attempt.late === true && attempt.outcome.refusals.size === 0 && !unchanged) {
    adopt()
    return 'done'
  }
  const right =
    attempt.outcome.refusals.has(code) || (refusedByDriver && code === 'EACCES') || (injected && attempt.early === true)
  if (!right) throw new Error(`it failed with ${String(error)}; right would be ${rightOutcomes(attempt)}`)
  if (!unchanged) throw new Error(`it failed with ${code} but changed the graph:\n${graphDifference(before, after)}`)
  return 'refused'
}

function judgeSuccess(attempt: Attempt, refusedByDriver: boolean): 'done' {
  if (attempt.outcome.refusals.size > 0) throw new Error(`it succeeded; right would be ${rightOutcomes(attempt)}`)
  // What only takes away passes a veto over.
  if (refusedByDriver && attempt.late !== true) throw new Error('it succeeded although a driver refused')
  return 'done'
}

function codeOf(error: unknown): ErrnoName {
  if (error instanceof AssertionFailure) throw error
  const code = (error as { code?: unknown }).code
  if (typeof code === 'string' && isErrnoName(code)) return code
  throw error
}

function rightOutcomes(attempt: Attempt): string {
  const { refusals } = attempt.outcome
  return refusals.size === 0 ? 'success' : [...refusals].join(' or ')
}
