// throttle: holds requests back so that the nodes of its group stay within their limits. A drain above or below lifts it:
// what waits on the group's timer then goes at once.

import { BlockError } from '../../common/error.js'
import type { Bytes } from '../../common/io-vector.js'
import { BDRV_REQ_WRITE_COMPRESSED } from '../../common/request.js'
import type { Offset } from '../../common/units.js'
import { defineDriver, type OpenedNode } from '../../global-state/driver.js'
import { integerOption, type OptionField, stringOption } from '../../global-state/options/option-schema.js'
import type { BlockChild } from '../../io/block-node.js'
import { discard } from '../../io/discard.js'
import type { IoEnvironment } from '../../io/environment.js'
import type { Completion, NodeIo } from '../../io/node-io.js'
import { read } from '../../io/read.js'
import { write } from '../../io/write.js'
import { writeZeroes } from '../../io/write-zeroes.js'
import { childLength, forwardedFlags, openFiltered } from './forward.js'
import {
  BUCKETS,
  THROTTLE_VALUE_MAX,
  type ThrottleLimits,
  type ThrottleSettings,
  throttleLimits,
} from './throttle/limits.js'
import { ThrottleGroup, type ThrottleMember } from './throttle/throttle-group.js'

export {
  type BucketLimit,
  type BucketName,
  type ThrottleLimits,
  type ThrottleSettings,
  throttleLimits,
} from './throttle/limits.js'
export { ThrottleGroup, type ThrottleMember } from './throttle/throttle-group.js'

/** What an open throttle node keeps. */
export interface ThrottleState {
  readonly member: ThrottleMember
  readonly environment: IoEnvironment
}

/** Holds requests back to the limits of a group. */
export const throttleDriver = defineDriver({
  name: 'throttle',
  kind: 'filter',
  options: {
    'throttle-group': stringOption({ description: 'name of the group; a group of its own by default' }),
    ...limitOptions(),
  },
  childNames: ['file'],
  async open(context, options): Promise<OpenedNode<ThrottleState>> {
    const settings = limitSettings(options)
    const file = await openFiltered(context)
    const member = joinGroup(context.environment, context.nodeName, options['throttle-group'], settings)
    return {
      io: throttleIo(file, member),
      state: { member, environment: context.environment },
      ...forwardedFlags(file),
    }
  },
  close({ member, environment }) {
    const { group } = member
    group.leave(member)
    if (group.memberCount > 0) return
    const known = groups.get(environment)
    if (known?.get(group.name) === group) known.delete(group.name)
  },
})

/** Changes the limits of the node's group, for all its nodes, at once. */
export function setThrottleLimits(state: ThrottleState, limits: ThrottleLimits): void {
  state.member.group.setLimits(limits)
}

/** The groups of each graph, by name. */
const groups = new WeakMap<IoEnvironment, Map<string, ThrottleGroup>>()

function joinGroup(
  environment: IoEnvironment,
  node: string,
  name: string | undefined,
  settings: ThrottleSettings,
): ThrottleMember {
  const limits = throttleLimits(settings)
  if (name === undefined) return new ThrottleGroup(node, limits, environment.clock).join()
  let known = groups.get(environment)
  if (known === undefined) {
    known = new Map()
    groups.set(environment, known)
  }
  let group = known.get(name)
  if (group === undefined) {
    group = new ThrottleGroup(name, limits, environment.clock)
    known.set(name, group)
  } else if (Object.keys(settings).length > 0 && JSON.stringify(limits) !== JSON.stringify(group.limits)) {
    throw new BlockError('EINVAL', `throttle group '${name}' exists already with other limits`, {
      node,
      op: 'open',
      hint: 'leave the limits out to join the group, or change them with setThrottleLimits',
    })
  }
  return group.join()
}

function throttleIo(file: BlockChild, member: ThrottleMember): NodeIo {
  const { group } = member
  const behind = (pending: Promise<void> | undefined, go: () => Completion): Completion =>
    pending === undefined ? go() : pending.then(go)
  return {
    relays: true,
    length: () => childLength(file),
    read(offset: Offset, into: Bytes, flags): Completion {
      const pending = group.admit(member, 'read', into.length)
      return pending === undefined
        ? read(file, offset, into, flags)
        : pending.then(() => read(file, offset, into, flags))
    },
    write(offset, data, flags): Completion {
      const pending = group.admit(member, 'write', data.length)
      return pending === undefined
        ? write(file, offset, data, flags)
        : pending.then(() => write(file, offset, data, flags))
    },
    writeCompressed: (offset, data) =>
      behind(group.admit(member, 'write', data.length), () => write(file, offset, data, BDRV_REQ_WRITE_COMPRESSED)),
    writeZeroes: (offset, bytes, flags) =>
      behind(group.admit(member, 'write', bytes), () => writeZeroes(file, offset, bytes, flags)),
    discard: (offset, bytes) => behind(group.admit(member, 'write', bytes), () => discard(file, offset, bytes)),
    drainBegin: () => group.lift(member),
    drainEnd: () => group.lower(member),
    expedite: (on) => (on ? group.lift(member) : group.lower(member)),
  }
}

type LimitOptions = { [K in keyof ThrottleSettings as `limits.${K}`]-?: OptionField<number | undefined> }

function limitOptions(): LimitOptions {
  const fields: Record<string, OptionField<number | undefined>> = {}
  for (const name of BUCKETS) {
    fields[`limits.${name}`] = integerOption({
      min: 0,
      max: THROTTLE_VALUE_MAX,
      description: `${name} in the long run`,
    })
    fields[`limits.${name}-max`] = integerOption({
      min: 0,
      max: THROTTLE_VALUE_MAX,
      description: `${name} during a burst`,
    })
    fields[`limits.${name}-max-length`] = integerOption({ min: 1, description: 'seconds that a burst may last' })
  }
  fields['limits.iops-size'] = integerOption({ min: 0, description: 'bytes of a request that count as one' })
  return fields as LimitOptions
}

function limitSettings(options: Readonly<Record<string, unknown>>): ThrottleSettings {
  const settings: Record<string, number> = {}
  for (const [key, value] of Object.entries(options)) {
    if (key.startsWith('limits.') && typeof value === 'number') settings[key.slice('limits.'.length)] = value
  }
  return settings
}
