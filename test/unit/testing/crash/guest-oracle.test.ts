import { describe, expect, it } from 'vitest'
import { GuestLog, type GuestOperation } from '../../../../src/testing/crash/guest-log.js'
import { GuestOracle } from '../../../../src/testing/crash/guest-oracle.js'
import { Recording } from '../../../../src/testing/storage/recording.js'

const SECTOR = 512
const fill = (value: number, sectors = 1) => new Uint8Array(sectors * SECTOR).fill(value)
const write = (sector: number, value: number, fua = false, sectors = 1): GuestOperation => ({
  kind: 'write',
  offset: sector * SECTOR,
  data: fill(value, sectors),
  fua,
})
const FLUSH: GuestOperation = { kind: 'flush' }

/** A disk of four sectors, all 9. */
class Guest {
  readonly log = new GuestLog(new Recording())

  done(...operations: GuestOperation[]): this {
    for (const operation of operations) this.log.end(this.log.submit(operation), false)
    return this
  }

  failed(operation: GuestOperation): this {
    this.log.end(this.log.submit(operation), true)
    return this
  }

  begun(operation: GuestOperation): number {
    return this.log.submit(operation)
  }

  /** Which of the values sector `sector` may have after a crash now. */
  allowed(sector: number, values: readonly number[], which: 'judge' | 'judgeLive' = 'judge'): number[] {
    const oracle = new GuestOracle(this.log, fill(9, 4))
    oracle.advance(Number.POSITIVE_INFINITY)
    const content = fill(9, 4)
    const passes = (at: number, value: number) => {
      content.set(fill(value), at * SECTOR)
      const fault = oracle[which]({ content })
      return fault === undefined || Number(/^sector (\d+)/.exec(fault)?.[1]) > at
    }
    // Something right before it, so that the first fault may be its own.
    for (let at = 0; at < sector; at++) values.find((value) => passes(at, value))
    return values.filter((value) => passes(sector, value))
  }
}

const ALL = [0, 1, 2, 3, 9]

describe('the oracle', () => {
  it('wants the old content, the new one or zeroes while a write is not flushed', () => {
    expect(new Guest().done(write(0, 1)).allowed(0, ALL)).toEqual([0, 1, 9])
    expect(new Guest().done(write(0, 1)).allowed(1, ALL)).toEqual([9])
  })

  it('wants what was acknowledged before a completed flush', () => {
    const guest = new Guest().done(write(0, 1), FLUSH)
    expect(guest.allowed(0, ALL)).toEqual([1])
    expect(guest.done(write(0, 2)).allowed(0, ALL)).toEqual([0, 1, 2])
  })

  it('wants nothing of a flush that failed, or is in flight, or began before the acknowledgement', () => {
    expect(new Guest().done(write(0, 1)).failed(FLUSH).allowed(0, ALL)).toEqual([0, 1, 9])
    const open = new Guest().done(write(0, 1))
    open.begun(FLUSH)
    expect(open.allowed(0, ALL)).toEqual([0, 1, 9])
    const late = new Guest()
    const id = late.begun(write(0, 1))
    const flush = late.begun(FLUSH)
    late.log.end(id, false)
    late.log.end(flush, false)
    expect(late.allowed(0, ALL)).toEqual([0, 1, 9])
    expect(late.done(FLUSH).allowed(0, ALL)).toEqual([1])
  })

  it('knows of several writes that any may be the last that survived', () => {
    expect(new Guest().done(write(0, 1), write(0, 2), write(0, 3)).allowed(0, ALL)).toEqual(ALL)
    expect(new Guest().done(write(0, 1), write(0, 2), FLUSH).allowed(0, ALL)).toEqual([2])
  })

  it('takes a FUA write for certain, and nothing else with it', () => {
    const guest = new Guest().done(write(0, 1), write(1, 2, true))
    expect(guest.allowed(1, ALL)).toEqual([2])
    expect(guest.allowed(0, ALL)).toEqual([0, 1, 9])
  })

  it('lets a write that failed have happened or not, also after a flush', () => {
    expect(new Guest().failed(write(0, 1)).done(FLUSH).allowed(0, ALL)).toEqual([0, 1, 9])
    expect(new Guest().failed(write(0, 1)).done(write(0, 2), FLUSH).allowed(0, ALL)).toEqual([2])
  })

  it('leaves the old content or zeroes after a discard, and zeroes after a zero write', () => {
    const discard: GuestOperation = { kind: 'discard', offset: 0, bytes: SECTOR }
    expect(new Guest().done(discard, FLUSH).allowed(0, ALL)).toEqual([0, 9])
    const zero: GuestOperation = { kind: 'zero', offset: 0, bytes: SECTOR, fua: false }
    expect(new Guest().done(zero).allowed(0, ALL)).toEqual([0, 9])
    expect(new Guest().done(zero, FLUSH).allowed(0, ALL)).toEqual([0])
  })

  it('without a crash wants what was acknowledged', () => {
    expect(new Guest().done(write(0, 1)).allowed(0, ALL, 'judgeLive')).toEqual([1])
  })

  it('follows writes of parts of a sector', () => {
    const guest = new Guest().done({ kind: 'write', offset: 100, data: new Uint8Array(100).fill(1), fua: false })
    const oracle = new GuestOracle(guest.log, fill(9, 4))
    oracle.advance(Number.POSITIVE_INFINITY)
    const content = fill(9, 4)
    expect(oracle.judge({ content })).toBeUndefined()
    content.fill(1, 100, 200)
    expect(oracle.judge({ content })).toBeUndefined()
    content.fill(1, 100, 201)
    expect(oracle.judge({ content })).toMatch(/^sector 0 reads as/)
  })

  it('takes one length or the other until a flush', () => {
    const guest = new Guest().done({ kind: 'resize', length: 2 * SECTOR })
    const judge = (sectors: number) => {
      const oracle = new GuestOracle(guest.log, fill(9, 4))
      oracle.advance(Number.POSITIVE_INFINITY)
      return oracle.judge({ content: fill(9, sectors) })
    }
    expect([judge(4), judge(2)]).toEqual([undefined, undefined])
    expect(judge(3)).toBe('the disk has 1536 bytes; it may have 2048 or 1024')
    guest.done(FLUSH)
    expect([judge(2), judge(4)]).toEqual([undefined, 'the disk has 2048 bytes; it may have 1024'])
  })

  it('wants zeroes where the disk was cut and has grown again', () => {
    const guest = new Guest().done({ kind: 'resize', length: SECTOR }, { kind: 'resize', length: 4 * SECTOR }, FLUSH)
    expect(guest.allowed(1, ALL)).toEqual([0])
  })

  it('names whose data was found', () => {
    const guest = new Guest().done(write(2, 5, false, 2), FLUSH)
    const oracle = new GuestOracle(guest.log, fill(9, 4))
    oracle.advance(Number.POSITIVE_INFINITY)
    const content = new Uint8Array([...fill(5), ...fill(9), ...fill(5, 2)])
    expect(oracle.judge({ content })).toBe(
      'sector 0 reads as sector 2 of operation 0 (write 1024 bytes at 1024); it may be [09 09 09 09 09 09 09 09 09 09 09 09 09 09 09 09 ...]',
    )
  })

  it('asks more after a flush that settled something, and not after others', () => {
    const guest = new Guest().done(write(0, 1), FLUSH, FLUSH, write(0, 2, true))
    const oracle = new GuestOracle(guest.log, fill(9, 4))
    const generations = guest.log.events.map(({ serial }) => {
      oracle.advance(serial + 1)
      return oracle.generation
    })
    expect(generations).toEqual([0, 0, 0, 1, 1, 1, 1, 2])
  })
})

describe('the oracle of snapshots', () => {
  const judge = (guest: Guest, found: Record<string, Uint8Array>, content = fill(9, 4)) => {
    const oracle = new GuestOracle(guest.log, fill(9, 4))
    oracle.advance(Number.POSITIVE_INFINITY)
    const snapshots = Object.entries(found).map(([name, bytes]) => {
      return [name, { length: bytes.byteLength, content: bytes }] as const
    })
    return oracle.judge({ content, snapshots: new Map(snapshots) })
  }

  it('lets a snapshot be there or not until a flush, and wants it there afterwards', () => {
    const guest = new Guest().done({ kind: 'snapshot-create', name: 's' })
    expect([judge(guest, {}), judge(guest, { s: fill(9, 4) })]).toEqual([undefined, undefined])
    guest.done(FLUSH)
    expect(judge(guest, { s: fill(9, 4) })).toBeUndefined()
    expect(judge(guest, {})).toBe("snapshot 's' is missing")
    guest.done({ kind: 'snapshot-delete', name: 's' })
    expect([judge(guest, {}), judge(guest, { s: fill(9, 4) })]).toEqual([undefined, undefined])
    guest.done(FLUSH)
    expect(judge(guest, { s: fill(9, 4) })).toBe("snapshot 's' was deleted and is there")
  })

  it('wants the content the disk had then', () => {
    const guest = new Guest().done(write(0, 1), FLUSH, { kind: 'snapshot-create', name: 's' }, write(0, 2), FLUSH)
    const content = new Uint8Array([...fill(2), ...fill(9, 3)])
    expect(judge(guest, { s: new Uint8Array([...fill(1), ...fill(9, 3)]) }, content)).toBeUndefined()
    expect(judge(guest, { s: content }, content)).toMatch(/^snapshot 's': sector 0 reads as sector 0 of operation 3/)
  })

  it('wants what a snapshot held once it was applied', () => {
    const guest = new Guest().done({ kind: 'snapshot-create', name: 's' }, write(0, 2), FLUSH)
    const found = { s: fill(9, 4) }
    const written = new Uint8Array([...fill(2), ...fill(9, 3)])
    guest.done({ kind: 'snapshot-apply', name: 's' })
    expect([judge(guest, found), judge(guest, found, written)]).toEqual([undefined, undefined])
    guest.done(FLUSH)
    expect(judge(guest, found)).toBeUndefined()
    expect(judge(guest, found, written)).toMatch(/^sector 0 reads as/)
  })

  it('refuses one that nobody took', () => {
    expect(judge(new Guest(), { s: fill(9, 4) })).toBe("there is a snapshot 's' that nobody took")
  })
})
