// What a failed crash run says: the problem, the workload, what had happened, the window with what of it was lost, and how to see it
// again.

import { BDRV_SECTOR_SIZE } from '../../common/limits.js'
import { rangeOf } from './change.js'
import type { CrashChoice } from './crash-choices.js'
import type { CrashCommand } from './crash-commands.js'
import type { CrashPoint, WindowMember } from './crash-points.js'
import type { CrashTarget } from './crash-target.js'
import { describeOperation, type GuestLog } from './guest-log.js'

/** A failure as data. */
export interface CrashFailureDetails {
  seed: number
  commands: readonly CrashCommand[]
  /** What is wrong with the state. */
  problem: string
  /** The smallest loss that fails; undefined where there was no crash. */
  choice?: CrashChoice
  /** What else was done to it, such as the fault of a fault run. */
  fault?: string
}

/** What a failure happened to. */
export interface CrashScene {
  target: CrashTarget
  log: GuestLog
  /** Where the crash was; undefined where there was none. */
  point?: CrashPoint
}

/** A promise that was broken. */
export class CrashFailure extends Error {
  readonly details: CrashFailureDetails

  constructor(scene: CrashScene, details: CrashFailureDetails) {
    super(messageOf(scene, details))
    this.name = 'CrashFailure'
    this.details = details
  }
}

function messageOf(scene: CrashScene, details: CrashFailureDetails): string {
  const { target, point } = scene
  const { seed, commands, problem, choice, fault } = details
  const when = point === undefined ? 'without a crash' : `crash at ${point.serial}`
  return [
    `${target.name}, seed ${seed}, ${when}${fault === undefined ? '' : `, ${fault}`}: ${problem}`,
    'commands:',
    ...commands.map((command) => `  ${JSON.stringify(command)},`),
    'operations:',
    ...operationLines(scene),
    ...(point === undefined || choice === undefined ? [] : windowLines(point, choice)),
  ].join('\n')
}

function operationLines({ log, point }: CrashScene): string[] {
  const until = point?.serial ?? Number.POSITIVE_INFINITY
  return log.operations.flatMap((operation, id) => {
    const events = log.events.filter((event) => event.id === id && event.serial < until)
    const [began] = events
    if (began === undefined) return []
    const end = events.find(({ what }) => what !== 'submitted')
    const ended = end === undefined ? 'in flight' : `${end.what} at ${end.serial}`
    return [`  ${id}: ${describeOperation(operation)}; at ${began.serial}, ${ended}`]
  })
}

function windowLines(point: CrashPoint, choice: CrashChoice): string[] {
  const { kept, swapped, lengths } = choice
  return [
    `window of ${point.window.length} changes, lengths ${lengths}${swapped === undefined ? '' : `, change ${swapped} after its successor`}:`,
    ...point.window.map((member, index) => `  ${index}: ${describeMember(member)}${describeKept(member, kept[index])}`),
  ]
}

function describeMember({ entry }: WindowMember): string {
  const { offset, bytes } = rangeOf(entry)
  const what = entry.kind === 'truncate' ? `truncate to ${offset}` : `${entry.kind} ${bytes} bytes at ${offset}`
  return `${entry.node} ${entry.serial} ${what}`
}

function describeKept({ entry, forced }: WindowMember, kept: CrashChoice['kept'][number] | undefined): string {
  if (forced) return ' (FUA)'
  if (kept === true) return ''
  if (kept === false || kept === undefined) return ' LOST'
  const first = Math.floor(rangeOf(entry).offset / BDRV_SECTOR_SIZE)
  return ` TORN, only sectors ${kept.map((part) => first + part).join(', ')}`
}
