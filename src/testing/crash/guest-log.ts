// What the guest asked for and was told, in one order with what reached the storages: every event takes a serial number of the
// recording.

import type { Offset } from '../../common/units.js'
import type { Recording } from '../storage/recording.js'

/** One operation of the guest, or of whoever manages its image. Offsets and lengths in bytes. */
export type GuestOperation =
  | { kind: 'write'; offset: Offset; data: Uint8Array; fua: boolean }
  | { kind: 'zero'; offset: Offset; bytes: number; fua: boolean }
  | { kind: 'discard'; offset: Offset; bytes: number }
  | { kind: 'resize'; length: Offset }
  | { kind: 'flush' }
  | { kind: 'close' }
  | { kind: 'snapshot-create'; name: string }
  | { kind: 'snapshot-apply'; name: string }
  | { kind: 'snapshot-delete'; name: string }
  | { kind: 'bitmap-add'; name: string }
  | { kind: 'bitmap-remove'; name: string }
  | { kind: 'bitmap-merge'; name: string; from: string }
  /** What the guest sees nothing of. */
  | { kind: 'operation'; name: string }

/** An operation that began, or how it ended. */
export interface GuestEvent {
  readonly serial: number
  /** Of the operation. */
  readonly id: number
  readonly what: 'submitted' | 'acknowledged' | 'failed'
}

/** The events of one run. */
export class GuestLog {
  readonly operations: GuestOperation[] = []
  readonly events: GuestEvent[] = []
  readonly #recording: Recording

  constructor(recording: Recording) {
    this.#recording = recording
  }

  /** Notes that an operation begins; its id. */
  submit(operation: GuestOperation): number {
    const id = this.operations.length
    this.operations.push(operation)
    this.#note(id, 'submitted')
    return id
  }

  /** Notes that it was acknowledged, or reported as failed. */
  end(id: number, failed: boolean): void {
    this.#note(id, failed ? 'failed' : 'acknowledged')
  }

  /** Runs `act` as one operation. */
  async run(operation: GuestOperation, act: () => Promise<void>): Promise<void> {
    const id = this.submit(operation)
    try {
      await act()
    } catch (error) {
      this.end(id, true)
      throw error
    }
    this.end(id, false)
  }

  #note(id: number, what: GuestEvent['what']): void {
    const serial = this.#recording.mark(`guest operation ${id} ${what}`)
    this.events.push({ serial, id, what })
  }
}

/** One operation as a person reads it. */
export function describeOperation(operation: GuestOperation): string {
  switch (operation.kind) {
    case 'write':
      return `write ${operation.data.byteLength} bytes at ${operation.offset}${operation.fua ? ', FUA' : ''}`
    case 'zero':
      return `zero ${operation.bytes} bytes at ${operation.offset}${operation.fua ? ', FUA' : ''}`
    case 'discard':
      return `discard ${operation.bytes} bytes at ${operation.offset}`
    case 'resize':
      return `resize to ${operation.length}`
    case 'flush':
    case 'close':
      return operation.kind
    case 'bitmap-merge':
      return `merge bitmap ${operation.from} into ${operation.name}`
    case 'operation':
      return operation.name
    default:
      return `${operation.kind} ${operation.name}`
  }
}
