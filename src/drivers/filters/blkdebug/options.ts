// Options of blkdebug: lists of rules (`inject-error.0.event=...`), permissions, and limits.

import { type ErrnoName, errnoName, isErrnoName } from '../../../common/errno.js'
import { type PermissionName, type Permissions, permissionFromName } from '../../../common/permissions.js'
import {
  enumOption,
  flagOption,
  groupOption,
  integerOption,
  listOption,
  type OptionField,
  type OptionValues,
  sizeOption,
} from '../../../global-state/options/option-schema.js'
import type { InjectErrorRule, SetStateRule } from './debug-state.js'
import { BLKDEBUG_EVENTS, BLKDEBUG_IO_TYPES } from './events.js'

const PERMISSION_NAMES: readonly PermissionName[] = ['consistent-read', 'write', 'write-unchanged', 'resize']

const INJECT_ERROR = {
  event: enumOption(BLKDEBUG_EVENTS, { required: true, description: 'event that arms the rule' }),
  state: integerOption({ default: 0, description: 'state in which the event counts; 0: any' }),
  iotype: enumOption(BLKDEBUG_IO_TYPES, { description: 'requests that fail; all but block-status by default' }),
  errno: errnoOption(),
  sector: integerOption({ description: 'fail only requests that cover this sector of 512 bytes' }),
  once: flagOption({ default: false, description: 'fail one request only' }),
  immediately: flagOption({ default: false, description: 'fail before the request returns' }),
  nth: integerOption({ default: 1, min: 1, description: 'fail from the n-th covered request on' }),
}

const SET_STATE = {
  event: enumOption(BLKDEBUG_EVENTS, { required: true, description: 'event that changes the state' }),
  state: integerOption({ default: 0, description: 'state in which the event counts; 0: any' }),
  new_state: integerOption({ required: true, description: 'state from then on' }),
}

const permissionList = () => listOption(enumOption(PERMISSION_NAMES, { required: true }), { default: [] })

export const BLKDEBUG_OPTIONS = {
  'inject-error': listOption(groupOption(INJECT_ERROR, { required: true }), { default: [] }),
  'set-state': listOption(groupOption(SET_STATE, { required: true }), { default: [] }),
  'take-child-perms': permissionList(),
  'unshare-child-perms': permissionList(),
  align: sizeOption({ description: 'request alignment' }),
  'max-transfer': sizeOption({ description: 'largest read or write' }),
  'opt-write-zero': sizeOption({ description: 'alignment of zero writes' }),
  'max-write-zero': sizeOption({ description: 'largest zero write' }),
  'opt-discard': sizeOption({ description: 'alignment of discards' }),
  'max-discard': sizeOption({ description: 'largest discard' }),
}

/** Rules from the values of `inject-error`. */
export function injectRules(given: readonly OptionValues<typeof INJECT_ERROR>[]): InjectErrorRule[] {
  return given.map((rule) => ({ ...rule }))
}

/** Rules from the values of `set-state`. */
export function setStateRules(given: readonly OptionValues<typeof SET_STATE>[]): SetStateRule[] {
  return given.map((rule) => ({ event: rule.event, state: rule.state, newState: rule.new_state }))
}

/** The bits of a list of permission names. */
export function permissionMask(names: readonly PermissionName[]): Permissions {
  return names.reduce((mask, name) => mask | permissionFromName(name), 0)
}

/** An errno by name or by its Linux number. */
function errnoOption(): OptionField<ErrnoName> {
  const byNumber = integerOption({ required: true, min: 1, max: 4095 })
  return {
    type: 'errno',
    description: 'error to fail with: a name or a Linux number',
    default: 'EIO',
    required: false,
    read: (raw) => (isErrnoName(raw) ? raw : errnoName(byNumber.read(raw))),
  }
}
