// blkdebug: a filter for tests that makes chosen requests fail, holds requests at breakpoints, and narrows the limits of
// what is below. Options and events are QEMU's; its child may stand under `image` (QEMU's name) or `file`.

import { BlockError } from '../../common/error.js'
import { BDRV_MAX_ALIGNMENT, type BlockLimits } from '../../common/limits.js'
import type { Permissions } from '../../common/permissions.js'
import { isPowerOfTwo } from '../../common/units.js'
import { defineDriver, type OpenedNode } from '../../global-state/driver.js'
import type { OptionValues } from '../../global-state/options/option-schema.js'
import { BlkdebugState } from './blkdebug/debug-state.js'
import { isBlkdebugEvent } from './blkdebug/events.js'
import { blkdebugIo } from './blkdebug/io.js'
import { BLKDEBUG_OPTIONS, injectRules, permissionMask, setStateRules } from './blkdebug/options.js'
import { forwardedFlags, openFiltered } from './forward.js'

export { BlkdebugState, type InjectErrorRule, type SetStateRule } from './blkdebug/debug-state.js'
export { BLKDEBUG_EVENTS, BLKDEBUG_IO_TYPES, type BlkdebugEvent, type BlkdebugIoType } from './blkdebug/events.js'

/** What an open blkdebug node keeps. */
export interface BlkdebugNodeState {
  readonly debug: BlkdebugState
  readonly limits: Partial<BlockLimits>
}

const NO_PERMISSIONS = { take: 0, unshare: 0 }
/** By the state of the node; while a node opens its permissions are asked for before there is a state. */
const permissionWishes = new WeakMap<BlkdebugNodeState, { take: Permissions; unshare: Permissions }>()

/** Injects errors, suspends requests and narrows limits. */
export const blkdebugDriver = defineDriver({
  name: 'blkdebug',
  kind: 'filter',
  options: BLKDEBUG_OPTIONS,
  childNames: ['image', 'file'],
  async open(context, options): Promise<OpenedNode<BlkdebugNodeState>> {
    const limits = limitsOf(options, context.nodeName)
    const file = await openFiltered(context, context.hasChild('image') ? 'image' : 'file')
    const { nodeName: node, environment } = context
    const debug = new BlkdebugState(
      injectRules(options['inject-error']),
      setStateRules(options['set-state']),
      (what, tag) => environment.trace.emit(`request-${what}`, { node, tag }),
    )
    const state = { debug, limits }
    permissionWishes.set(state, {
      take: permissionMask(options['take-child-perms']),
      unshare: permissionMask(options['unshare-child-perms']),
    })
    return { io: blkdebugIo(file, debug, limits), state, limits, ...forwardedFlags(file) }
  },
  close({ debug }) {
    debug.releaseAll()
  },
  childPermissions(state, _child, asked) {
    const { take, unshare } = (state === undefined ? undefined : permissionWishes.get(state)) ?? NO_PERMISSIONS
    return { perm: asked.perm | take, shared: asked.shared & ~unshare }
  },
  debug: {
    breakpoint({ debug }, event, tag) {
      if (!isBlkdebugEvent(event)) throw new BlockError('ENOENT', `no event '${event}'`, { op: 'debug' })
      debug.breakpoint(event, tag)
    },
    removeBreakpoint: ({ debug }, tag) => debug.removeBreakpoint(tag),
    resume: ({ debug }, tag) => debug.resume(tag),
    isSuspended: ({ debug }, tag) => debug.isSuspended(tag),
  },
})

function limitsOf(options: OptionValues<typeof BLKDEBUG_OPTIONS>, node: string): Partial<BlockLimits> {
  const align = options.align ?? 0
  const unit = Math.max(align, 1)
  const multiple = (name: keyof typeof BLKDEBUG_OPTIONS & string, value: number | undefined, of: number): number => {
    if (value === undefined || value === 0) return 0
    if (value >= 2 ** 31 || value % of !== 0) {
      throw new BlockError('EINVAL', `option '${name}' must be a multiple of ${of} below 2^31`, { node, op: 'open' })
    }
    return value
  }
  if (align !== 0 && (!isPowerOfTwo(align) || align > BDRV_MAX_ALIGNMENT)) {
    throw new BlockError('EINVAL', `option 'align' must be a power of two up to ${BDRV_MAX_ALIGNMENT}`, {
      node,
      op: 'open',
    })
  }
  const maxTransfer = multiple('max-transfer', options['max-transfer'], unit)
  const writeZeroesAlignment = multiple('opt-write-zero', options['opt-write-zero'], unit)
  const maxWriteZeroes = multiple('max-write-zero', options['max-write-zero'], Math.max(writeZeroesAlignment, unit))
  const discardAlignment = multiple('opt-discard', options['opt-discard'], unit)
  const maxDiscard = multiple('max-discard', options['max-discard'], Math.max(discardAlignment, unit))
  return {
    ...(align === 0 ? {} : { requestAlignment: align }),
    ...(maxTransfer === 0 ? {} : { maxTransfer }),
    ...(writeZeroesAlignment === 0 ? {} : { writeZeroesAlignment }),
    ...(maxWriteZeroes === 0 ? {} : { maxWriteZeroes }),
    ...(discardAlignment === 0 ? {} : { discardAlignment }),
    ...(maxDiscard === 0 ? {} : { maxDiscard }),
  }
}
