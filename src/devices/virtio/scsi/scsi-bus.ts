// The units behind a controller, by their place.

import { BlockError } from '../../../common/error.js'
import type { ScsiUnit } from './scsi-unit.js'

/** Targets and their units. */
export class ScsiBus {
  private readonly targets = new Map<number, Map<number, ScsiUnit>>()

  /** Throws EEXIST where the place is taken. */
  add(unit: ScsiUnit): void {
    const { target, lun } = unit
    const units = this.targets.get(target) ?? new Map<number, ScsiUnit>()
    if (units.has(lun)) throw new BlockError('EEXIST', `there is a unit at target ${target}, lun ${lun}`)
    units.set(lun, unit)
    this.targets.set(target, units)
  }

  remove(unit: ScsiUnit): void {
    const units = this.targets.get(unit.target)
    units?.delete(unit.lun)
    if (units?.size === 0) this.targets.delete(unit.target)
  }

  /** Whether anything is behind a target. */
  hasTarget(target: number): boolean {
    return this.targets.has(target)
  }

  find(target: number, lun: number): ScsiUnit | undefined {
    return this.targets.get(target)?.get(lun)
  }

  /** Units of a target, or all of them. */
  units(target?: number): ScsiUnit[] {
    const groups = target === undefined ? [...this.targets.values()] : [this.targets.get(target)]
    return groups.flatMap((units) => [...(units?.values() ?? [])])
  }

  /** What a target reports: its units, and lun 0, which answers even where there is no disk (SPC-4, 6.33). */
  luns(target: number): number[] {
    const found = new Set([0, ...(this.targets.get(target)?.keys() ?? [])])
    return [...found].sort((a, b) => a - b)
  }
}
