// What a controller adds to the state of a device: sizes its driver chose, events that wait, and what units have to tell.
// The disks are its user's to attach again.

import { BlockError } from '../../../common/error.js'
import { SENSE_CAPACITY_CHANGED, SENSE_LUNS_CHANGED, SENSE_RESET, type Sense } from '../../../protocols/scsi/sense.js'
import { type ModelState, stateFlag, stateNumber } from '../core/device-state.js'
import type { ScsiModel } from './scsi-model.js'

/** Conditions that units tell of, by the name they are saved under. */
const CONDITIONS: Readonly<Record<string, Sense>> = {
  reset: SENSE_RESET,
  'capacity-changed': SENSE_CAPACITY_CHANGED,
  'luns-changed': SENSE_LUNS_CHANGED,
}

/** The state of a controller. */
export function saveScsi(model: ScsiModel): ModelState {
  const units = model.bus.units().map(({ target, lun, attentions }) => ({
    target,
    lun,
    attentions: Object.keys(CONDITIONS).filter((name) => attentions.includes(CONDITIONS[name] as Sense)),
  }))
  const { waiting, missed } = model.events
  return { senseSize: model.sizes.sense, cdbSize: model.sizes.cdb, missed, events: waiting, units }
}

/** Takes it over. Throws EINVAL for what no controller with these disks can have saved. */
export function loadScsi(model: ScsiModel, state: ModelState): void {
  const sense = stateNumber(state, 'senseSize', 0xffff)
  const cdb = stateNumber(state, 'cdbSize', 0xffff)
  const changed = model.setSizes(sense, cdb)
  if (!changed && (sense !== model.sizes.sense || cdb !== model.sizes.cdb)) throw bad('sizes')
  model.events.missed = stateFlag(state, 'missed')
  model.events.waiting = records(state.events, 16).map((event) => ({
    event: stateNumber(event, 'event', 0xffff_ffff),
    target: stateNumber(event, 'target', 255),
    lun: stateNumber(event, 'lun', 16383),
    reason: stateNumber(event, 'reason', 0xffff_ffff),
  }))
  const units = records(state.units, 256 * 16384)
  if (units.length !== model.bus.units().length) throw bad('units')
  for (const saved of units) {
    const unit = model.bus.find(stateNumber(saved, 'target', 255), stateNumber(saved, 'lun', 16383))
    if (unit === undefined || !Array.isArray(saved.attentions)) throw bad('units')
    unit.attentions = saved.attentions.map((name) => conditionOf(name))
  }
}

function conditionOf(name: unknown): Sense {
  const condition = typeof name === 'string' && Object.hasOwn(CONDITIONS, name) ? CONDITIONS[name] : undefined
  if (condition === undefined) throw bad('attentions')
  return condition
}

function records(data: unknown, most: number): ModelState[] {
  const good =
    Array.isArray(data) && data.length <= most && data.every((each) => typeof each === 'object' && each !== null)
  if (!good) throw bad('list')
  return data as ModelState[]
}

function bad(what: string): BlockError {
  return new BlockError('EINVAL', `saved state of a SCSI controller: its ${what} are not those of this one`, {
    op: 'load',
  })
}
