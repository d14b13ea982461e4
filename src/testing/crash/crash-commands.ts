// The workload of a crash run as data: random, small, and dense, so that few commands meet in the same clusters.

import * as fc from 'fast-check'
import { BDRV_SECTOR_SIZE } from '../../common/limits.js'

/** One step of a workload. Positions count sectors, clusters or snapshots and wrap around what there is. */
export type CrashCommand =
  | { type: 'write'; sector: number; sectors: number; fua: boolean }
  | { type: 'patch'; offset: number; bytes: number }
  | { type: 'zero'; sector: number; sectors: number; unmap: boolean; fua: boolean }
  | { type: 'discard'; sector: number; sectors: number }
  | { type: 'flush' }
  | { type: 'compressed'; cluster: number; fua: boolean }
  | { type: 'parallel'; sectors: readonly number[]; each: number }
  | { type: 'resize'; sectors: number }
  | { type: 'reopen' }
  | { type: 'snapshot-create' }
  | { type: 'snapshot-apply'; snapshot: number }
  | { type: 'snapshot-delete'; snapshot: number }
  | { type: 'bitmap-add' }
  | { type: 'bitmap-remove'; bitmap: number }
  | { type: 'bitmap-merge'; bitmap: number; from: number }
  | { type: 'operation'; operation: number }

/** What commands are chosen for: size and abilities of a disk. */
export interface CommandSupport {
  /** Length of the disk in bytes. */
  readonly bytes: number
  readonly clusterBytes: number
  readonly compressed?: boolean
  readonly resize?: boolean
  readonly snapshots?: boolean
  readonly bitmaps?: boolean
  /** Acts of tools; how many there are counts. */
  readonly operations?: readonly unknown[]
}

/** How workloads are chosen. */
export interface CrashCommandConstraints {
  minCommands?: number
  maxCommands?: number
}

const HOT_CLUSTERS = 5

/** Workloads of what `target` can do. */
export function crashCommands(
  target: CommandSupport,
  constraints: CrashCommandConstraints = {},
): fc.Arbitrary<CrashCommand[]> {
  const { minCommands = 1, maxCommands = 24 } = constraints
  // Of any length alike: long workloads find more than short ones, and shrinking makes them short.
  return fc.noBias(
    fc.array(fc.oneof(...weighted(target)), { minLength: minCommands, maxLength: maxCommands, size: 'max' }),
  )
}

function weighted(target: CommandSupport): fc.WeightedArbitrary<CrashCommand>[] {
  const disk = Math.floor(target.bytes / BDRV_SECTOR_SIZE)
  const cluster = target.clusterBytes / BDRV_SECTOR_SIZE
  // Most commands meet in a few clusters; the others make tables grow.
  const sector = fc.oneof(
    { weight: 1, arbitrary: fc.nat({ max: disk - 1 }) },
    { weight: 3, arbitrary: fc.nat({ max: Math.min(HOT_CLUSTERS * cluster, disk) - 1 }) },
  )
  const sectors = fc.oneof(fc.integer({ min: 1, max: 3 * cluster }), fc.constant(cluster))
  const seldom = fc.nat({ max: 5 }).map((dice) => dice === 0)
  const chosen: fc.WeightedArbitrary<CrashCommand>[] = [
    {
      weight: 8,
      arbitrary: fc.record({ type: fc.constant('write' as const), sector, sectors, fua: seldom }),
    },
    {
      weight: 1,
      arbitrary: fc.record({
        type: fc.constant('patch' as const),
        offset: fc.nat({ max: target.bytes - 1 }),
        bytes: fc.integer({ min: 1, max: 2 * BDRV_SECTOR_SIZE }),
      }),
    },
    {
      weight: 3,
      arbitrary: fc.record({
        type: fc.constant('zero' as const),
        sector,
        sectors,
        unmap: fc.boolean(),
        fua: seldom,
      }),
    },
    { weight: 4, arbitrary: fc.record({ type: fc.constant('discard' as const), sector, sectors }) },
    { weight: 5, arbitrary: fc.constant({ type: 'flush' as const }) },
    {
      weight: 2,
      arbitrary: fc.record({
        type: fc.constant('parallel' as const),
        sectors: fc.array(sector, { minLength: 2, maxLength: 4 }),
        each: fc.integer({ min: 1, max: cluster }),
      }),
    },
    { weight: 1, arbitrary: fc.constant({ type: 'reopen' as const }) },
  ]
  return [...chosen, ...optional(target, disk, cluster, seldom)]
}

function optional(
  target: CommandSupport,
  disk: number,
  cluster: number,
  seldom: fc.Arbitrary<boolean>,
): fc.WeightedArbitrary<CrashCommand>[] {
  const chosen: fc.WeightedArbitrary<CrashCommand>[] = []
  if (target.compressed === true) {
    const clusters = Math.floor(disk / cluster)
    const arbitrary = fc.record({
      type: fc.constant('compressed' as const),
      cluster: fc.oneof(
        { weight: 1, arbitrary: fc.nat({ max: clusters - 1 }) },
        { weight: 3, arbitrary: fc.nat({ max: Math.min(HOT_CLUSTERS, clusters) - 1 }) },
      ),
      fua: seldom,
    })
    chosen.push({ weight: 3, arbitrary })
  }
  if (target.resize === true) {
    const sectors = fc.integer({ min: 1, max: disk * 2 })
    chosen.push({ weight: 2, arbitrary: fc.record({ type: fc.constant('resize' as const), sectors }) })
  }
  if (target.snapshots === true) {
    const snapshot = fc.nat({ max: 7 })
    chosen.push({ weight: 4, arbitrary: fc.constant({ type: 'snapshot-create' as const }) })
    chosen.push({
      weight: 5,
      arbitrary: fc.record({
        type: fc.constantFrom('snapshot-apply' as const, 'snapshot-delete' as const),
        snapshot,
      }),
    })
  }
  if (target.bitmaps === true) chosen.push(...bitmapCommands())
  const { operations = [] } = target
  if (operations.length > 0) {
    const operation = fc.nat({ max: operations.length - 1 })
    chosen.push({ weight: 6, arbitrary: fc.record({ type: fc.constant('operation' as const), operation }) })
  }
  return chosen
}

function bitmapCommands(): fc.WeightedArbitrary<CrashCommand>[] {
  const bitmap = fc.nat({ max: 7 })
  return [
    { weight: 2, arbitrary: fc.constant({ type: 'bitmap-add' as const }) },
    { weight: 1, arbitrary: fc.record({ type: fc.constant('bitmap-remove' as const), bitmap }) },
    { weight: 1, arbitrary: fc.record({ type: fc.constant('bitmap-merge' as const), bitmap, from: bitmap }) },
    // Bitmaps are stored when the image is closed.
    { weight: 3, arbitrary: fc.constant({ type: 'reopen' as const }) },
  ]
}
