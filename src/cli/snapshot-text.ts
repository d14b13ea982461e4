// Snapshots as the tools show them: a table for people, in local time, and plain data.

import type { SnapshotInfo } from '../common/block-info.js'
import { formatSize } from './sizes.js'
import { printable } from './tool.js'

/** The table with its heading; a line of its own says what it is. */
export function snapshotTable(snapshots: readonly SnapshotInfo[]): string {
  const heading = row('ID', 'TAG', 'VM SIZE', 'DATE', 'VM CLOCK', 'ICOUNT')
  return ['Snapshot list:', heading, ...snapshots.map(snapshotRow)].map((line) => `${line}\n`).join('')
}

/** A snapshot as data; keys as in management interfaces. */
export function snapshotData(snapshot: SnapshotInfo): Record<string, unknown> {
  const clock = snapshot.vmClockNanoseconds
  return {
    ...(snapshot.icount === undefined ? {} : { icount: Number(snapshot.icount) }),
    'vm-clock-nsec': Number(clock % SECOND),
    name: snapshot.name,
    'date-sec': snapshot.dateSeconds,
    'date-nsec': snapshot.dateNanoseconds,
    'vm-clock-sec': Number(clock / SECOND),
    id: snapshot.id,
    'vm-state-size': snapshot.vmStateSize,
  }
}

const SECOND = 1_000_000_000n

function snapshotRow(snapshot: SnapshotInfo): string {
  return row(
    printable(snapshot.id),
    printable(snapshot.name),
    formatSize(snapshot.vmStateSize),
    localTime(snapshot.dateSeconds),
    clockText(snapshot.vmClockNanoseconds),
    snapshot.icount === undefined ? '' : String(snapshot.icount),
  )
}

function row(id: string, tag: string, size: string, date: string, clock: string, icount: string): string {
  const left = `${id.padEnd(9)} ${tag.padEnd(16)} ${size.padStart(8)}`
  return `${left}${date.padStart(20)}${clock.padStart(13)}${icount.padStart(11)}`
}

function localTime(seconds: number): string {
  const date = new Date(seconds * 1000)
  const day = [date.getFullYear(), date.getMonth() + 1, date.getDate()].map(twoDigits).join('-')
  return `${day} ${[date.getHours(), date.getMinutes(), date.getSeconds()].map(twoDigits).join(':')}`
}

/** Hours, minutes, seconds and milliseconds. */
function clockText(nanoseconds: bigint): string {
  const seconds = Number(nanoseconds / SECOND)
  const parts = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, seconds % 60].map(twoDigits)
  const milliseconds = Number((nanoseconds / 1_000_000n) % 1000n)
  return `${parts.join(':')}.${String(milliseconds).padStart(3, '0')}`
}

function twoDigits(value: number): string {
  return String(value).padStart(2, '0')
}
