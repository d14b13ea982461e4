// The typed state that a driver's `open` returned, for jobs and tools that know the driver (throttle limits, debug points).

import { BlockError } from '../common/error.js'
import type { DriverDefinition } from './driver.js'
import type { NodeState } from './node-state.js'
import type { OptionSchema } from './options/option-schema.js'

/** The state of `node`, an open node of `driver`; EINVAL for another node. */
export function stateOf<S extends OptionSchema, State>(node: NodeState, driver: DriverDefinition<S, State>): State {
  if (node.definition.name !== driver.name || !node.opened) {
    throw new BlockError('EINVAL', `it is no open '${driver.name}' node`, { node: node.nodeName, op: 'stateOf' })
  }
  return node.driverState as State
}
