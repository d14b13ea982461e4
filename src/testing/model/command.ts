// Commands of the model test, as data: a failing run prints them, and the same list runs again. Numbers that name a node, a
// backend or a section are taken modulo what there is when the command runs.

import type { ErrnoName } from '../../common/errno.js'
import type { Permissions } from '../../common/permissions.js'
import type { RequestKind } from '../../common/request.js'
import type { ModelDriver } from './graph-model.js'

/** What is wrong with the options of a node on purpose. */
export type OpenMistake =
  | 'none'
  | 'taken-name'
  | 'unknown-option'
  | 'unknown-driver'
  | 'missing-child'
  | 'wrong-type'
  | 'force-share'

/** Changes the graph; runs in a main-loop section of its own. */
export type EditCommand =
  | {
      type: 'open'
      driver: ModelDriver
      child: number
      inline: boolean
      readOnly: boolean
      forceShare: boolean
      limited: boolean
      mistake: OpenMistake
    }
  | { type: 'close'; node: number }
  | { type: 'add-backend'; node: number; perm: Permissions; shared: Permissions; empty: boolean }
  | { type: 'remove-backend'; backend: number }
  | { type: 'insert'; backend: number; node: number }
  | { type: 'eject'; backend: number }
  | { type: 'set-permissions'; backend: number; perm: Permissions; shared: Permissions }
  | { type: 'insert-filter'; node: number; taken: boolean }
  | { type: 'drop-filter'; node: number }
  | { type: 'append'; overlay: number; top: number }
  | { type: 'replace'; from: number; to: number }
  | { type: 'set-backing'; node: number; backing: number; none: boolean }
  | { type: 'freeze'; top: number; depth: number }
  | { type: 'unfreeze'; freeze: number }
  | { type: 'reopen'; nodes: number[]; readOnly: boolean; veto: 'none' | 'reopen' | 'permissions' }
  | { type: 'activate'; active: boolean }
  | { type: 'drain-all' }
  | { type: 'add-bitmap'; node: number; name: number }
  | { type: 'remove-bitmap'; node: number; name: number }
  | { type: 'merge-bitmap'; node: number; name: number; from: number }

/** Does not change the graph, and needs no token. */
export type IoCommand =
  | { type: 'begin-section'; nodes: number[] }
  | { type: 'end-section'; section: number }
  | { type: 'request'; backend: number; kind: RequestKind; sector: number; abort: boolean }
  | { type: 'inject-error'; code: ErrnoName }
  | { type: 'arm-veto'; node: number }

/** A command, how many steps of the scheduler follow it, and whether the next one waits until its section is over. */
export interface GraphCommand {
  command: EditCommand | IoCommand
  steps: number
  wait: boolean
}
