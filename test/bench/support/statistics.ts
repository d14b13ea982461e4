// What is said of a handful of samples: the median, which one disturbed round cannot move, and the spread.

/** Samples of one thing, one per round. */
export interface Samples {
  median: number
  min: number
  max: number
  values: readonly number[]
}

/** Sums up at least one value. */
export function samplesOf(values: readonly number[]): Samples {
  return { median: medianOf(values), min: Math.min(...values), max: Math.max(...values), values }
}

/** The value in the middle; the mean of the two where their count is even. */
export function medianOf(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b)
  const middle = sorted.length >> 1
  const upper = sorted[middle] ?? Number.NaN
  return sorted.length % 2 === 1 ? upper : (upper + (sorted[middle - 1] ?? Number.NaN)) / 2
}
