// Checking the image behind a node for damage, and repairing it.

import type { BdrvCheckResult } from '../common/block-info.js'
import { BlockError } from '../common/error.js'
import { withDrained } from '../io/drained.js'
import { nodeError } from '../io/node-error.js'
import type { MainLoop } from './main-loop.js'
import type { NodeState } from './node-state.js'

/**
 * Checks the image of `node`, and repairs it as `fix`, a set of `BDRV_FIX_*`, says. Nothing else is in flight there meanwhile.
 * `report` gets each line for people as it is found. Findings are the result, not errors. ENOTSUP where the driver has no
 * check, EPERM for a repair of a node that is not writable, else what the driver says where the check itself fails.
 */
export function checkImage(
  main: MainLoop,
  node: NodeState,
  fix: number,
  report: (line: string) => void = () => {},
): Promise<BdrvCheckResult> {
  return main.call('checkImage', node.environment, async () => {
    const { io } = node
    const details = { node: node.nodeName, op: 'check' }
    const check = io.check?.bind(io)
    if (check === undefined) throw new BlockError('ENOTSUP', `driver '${node.driver.name}' has no check`, details)
    if (fix !== 0 && (node.readOnly || node.inactive)) throw new BlockError('EPERM', 'the node is read-only', details)
    try {
      return await withDrained([node], () => check(fix, report))
    } catch (thrown) {
      throw nodeError(thrown, node, 'check')
    }
  })
}
