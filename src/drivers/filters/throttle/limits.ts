// The limits of a throttle group: six rates, each with an average, a burst rate and a burst length. Names and rules are
// those of QEMU's throttle-group object.

import { BlockError } from '../../../common/error.js'

/** The buckets of a group, by option name. */
export const BUCKETS = ['bps-total', 'bps-read', 'bps-write', 'iops-total', 'iops-read', 'iops-write'] as const
export type BucketName = (typeof BUCKETS)[number]

/** Largest rate: 10^15 bytes or requests a second. */
export const THROTTLE_VALUE_MAX = 1e15

/** One rate. */
export interface BucketLimit {
  /** Bytes or requests a second in the long run; 0: unlimited. */
  avg: number
  /** Bytes or requests a second during a burst; 0: no burst. */
  max: number
  /** Seconds that a burst may last, at least 1. */
  length: number
}

/** The limits of a group. */
export interface ThrottleLimits {
  buckets: Record<BucketName, BucketLimit>
  /** A request counts for iops as one per so many bytes, and at least as one; 0: always as one. */
  iopsSize: number
}

/** Rates by option name: `iops-total`, `iops-total-max`, `iops-total-max-length`, ..., `iops-size`. */
export type ThrottleSettings = {
  [K in BucketName | `${BucketName}-max` | `${BucketName}-max-length` | 'iops-size']?: number | undefined
}

/** Limits from settings; what is left out is unlimited. EINVAL where they contradict each other. */
export function throttleLimits(settings: ThrottleSettings): ThrottleLimits {
  const bucket = (name: BucketName): BucketLimit => ({
    avg: settings[name] ?? 0,
    max: settings[`${name}-max`] ?? 0,
    length: settings[`${name}-max-length`] ?? 1,
  })
  const limits: ThrottleLimits = {
    buckets: {
      'bps-total': bucket('bps-total'),
      'bps-read': bucket('bps-read'),
      'bps-write': bucket('bps-write'),
      'iops-total': bucket('iops-total'),
      'iops-read': bucket('iops-read'),
      'iops-write': bucket('iops-write'),
    },
    iopsSize: settings['iops-size'] ?? 0,
  }
  const fault = limitsFault(limits)
  if (fault !== undefined) throw new BlockError('EINVAL', fault, { op: 'throttle' })
  return limits
}

/** Whether any rate is limited. */
export function isLimited(limits: ThrottleLimits): boolean {
  return BUCKETS.some((name) => limits.buckets[name].avg > 0)
}

function limitsFault(limits: ThrottleLimits): string | undefined {
  for (const unit of ['bps', 'iops'] as const) {
    const rates = (['total', 'read', 'write'] as const).map((kind) => limits.buckets[`${unit}-${kind}`])
    const [total, read, write] = rates as [BucketLimit, BucketLimit, BucketLimit]
    if (total.avg > 0 && (read.avg > 0 || write.avg > 0))
      return `${unit}-total cannot be used together with ${unit}-read or ${unit}-write`
    if (total.max > 0 && (read.max > 0 || write.max > 0)) {
      return `${unit}-total-max cannot be used together with ${unit}-read-max or ${unit}-write-max`
    }
  }
  if (!isRate(limits.iopsSize)) return `iops-size must be an integer from 0 to ${THROTTLE_VALUE_MAX}`
  const iops = limits.buckets
  if (
    limits.iopsSize > 0 &&
    iops['iops-total'].avg === 0 &&
    iops['iops-read'].avg === 0 &&
    iops['iops-write'].avg === 0
  ) {
    return 'iops-size needs a limit of requests a second'
  }
  for (const name of BUCKETS) {
    const fault = bucketFault(name, limits.buckets[name])
    if (fault !== undefined) return fault
  }
  return undefined
}

function bucketFault(name: BucketName, { avg, max, length }: BucketLimit): string | undefined {
  if (!isRate(avg) || !isRate(max)) return `${name} and ${name}-max must be integers from 0 to ${THROTTLE_VALUE_MAX}`
  if (!isRate(length) || length === 0) return `${name}-max-length must be at least 1`
  if (length > 1 && max === 0) return `${name}-max-length needs ${name}-max`
  if (max > 0 && length > THROTTLE_VALUE_MAX / max) return `${name}-max-length is too long for this ${name}-max`
  if (max > 0 && avg === 0) return `${name}-max needs ${name}`
  if (max > 0 && max < avg) return `${name}-max cannot be lower than ${name}`
  return undefined
}

function isRate(value: number): boolean {
  return Number.isSafeInteger(value) && value >= 0 && value <= THROTTLE_VALUE_MAX
}
