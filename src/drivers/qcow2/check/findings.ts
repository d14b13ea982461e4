// What a check has found so far, and the lines it says about it. Findings are data; the words are those of the field's tools.

import {
  BDRV_FIX_ERRORS,
  BDRV_FIX_LEAKS,
  type BdrvCheckResult,
  type BlockFragInfo,
} from '../../../common/block-info.js'

/** Counts of findings at some point of a check. */
export type FindingCounts = Pick<
  BdrvCheckResult,
  'corruptions' | 'leaks' | 'checkErrors' | 'corruptionsFixed' | 'leaksFixed'
>

/** Findings of one run. */
export class Findings {
  counts: FindingCounts = { corruptions: 0, leaks: 0, checkErrors: 0, corruptionsFixed: 0, leaksFixed: 0 }
  readonly fragmentation: BlockFragInfo = {
    allocatedClusters: 0,
    totalClusters: 0,
    fragmentedClusters: 0,
    compressedClusters: 0,
  }
  /** The refcount structures cannot be repaired where they stand. */
  needsRebuild = false
  /** Index of the last cluster in use. */
  lastCluster = 0
  readonly fixesLeaks: boolean
  readonly fixesErrors: boolean
  readonly #report: (line: string) => void

  /** `fix` is a set of `BDRV_FIX_*`; `report` gets each line as it is found. */
  constructor(fix: number, report: (line: string) => void) {
    this.fixesLeaks = (fix & BDRV_FIX_LEAKS) !== 0
    this.fixesErrors = (fix & BDRV_FIX_ERRORS) !== 0
    this.#report = report
  }

  say(line: string): void {
    this.#report(line)
  }

  /** Damage that is there to stay. */
  corruption(line: string): void {
    this.counts.corruptions++
    this.#report(line)
  }

  /** Damage that is being repaired, where `repaired`. */
  damage(repaired: boolean, what: string): void {
    if (repaired) this.counts.corruptionsFixed++
    else this.counts.corruptions++
    this.#report(`${repaired ? 'Repairing' : 'ERROR'} ${what}`)
  }

  /** Something that could not be looked at. */
  failure(line: string): void {
    this.counts.checkErrors++
    this.#report(line)
  }

  result(clusterSize: number): BdrvCheckResult {
    return {
      ...this.counts,
      imageEndOffset: (this.lastCluster + 1) * clusterSize,
      fragmentation: { ...this.fragmentation },
    }
  }
}
