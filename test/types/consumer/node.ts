// A user on Node with no library beyond ES2022: the entry files bring what our declarations need.

import { type Disk, withDrained } from 'blockgraph'
import { createGraph, openDisk } from 'blockgraph/node'
import { FaultPlan, faultDriver, VirtualClock } from 'blockgraph/testing'

export const clock = new VirtualClock()
export const graph = createGraph({ clock, contextTracking: true })
export const fault = faultDriver(new FaultPlan())

export async function use(): Promise<number> {
  await using disk: Disk = await openDisk({ driver: 'memory', size: '1M' }, { graph })
  await withDrained([disk.node], () => {})
  return disk.size
}
