// Points of the driver's work at which a blkdebug node below the image may stop or fail it, by the names that its rules have.
// Where there is no such node they cost one comparison.

import { debugEvent } from '../../../io/debug-event.js'
import type { Completion } from '../../../io/node-io.js'
import type { BlkdebugEvent } from '../../filters/blkdebug/events.js'
import type { Qcow2State } from '../state.js'

/** Whether anybody below the image wants to hear of the points. */
export function isWatched({ file }: Pick<Qcow2State, 'file'>): boolean {
  return file.node.io.debugEvent !== undefined
}

/** The driver is about to do what `event` names. What is returned ends when it may go on. */
export function reach({ file }: Pick<Qcow2State, 'file'>, event: BlkdebugEvent): Completion {
  return debugEvent(file, event)
}
