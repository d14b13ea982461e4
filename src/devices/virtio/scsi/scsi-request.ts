// One SCSI command from fetch to its response (virtio 1.2, 5.6.6.1): whom it is for, what it asks, and the guest's buffers.

import { type Bytes, copyBytes, zeroBytes } from '../../../common/io-vector.js'
import { decodeCommand, type ScsiCommand } from '../../../protocols/scsi/command.js'
import { SCSI_CDB_BYTES, SCSI_CHECK_CONDITION, SCSI_GOOD } from '../../../protocols/scsi/opcodes.js'
import { encodeFixedSense, type Sense } from '../../../protocols/scsi/sense.js'
import {
  decodeScsiAddress,
  decodeScsiTag,
  encodeScsiResponse,
  type ScsiAddress,
  type ScsiTag,
  VIRTIO_SCSI_REQUEST_BYTES,
  VIRTIO_SCSI_RESPONSE_BYTES,
  VIRTIO_SCSI_S_OK,
} from '../../../protocols/virtio/scsi.js'
import { ChainRequest } from '../core/chain-request.js'

/** Sizes of the parts whose size the driver chooses. */
export interface ScsiSizes {
  sense: number
  cdb: number
}

/** What a command came to: a condition where it failed, and the bytes of data that moved. */
export interface ScsiResult {
  readonly sense?: Sense | undefined
  readonly moved: number
}

const NOWHERE: ScsiAddress = { kind: 'none' }
const UNKNOWN: ScsiCommand = { kind: 'unknown' }

/** A command. Owned by its device from fetch until its head is returned. */
export class ScsiRequest extends ChainRequest {
  address: ScsiAddress = NOWHERE
  tag: ScsiTag = { high: 0, low: 0 }
  command: ScsiCommand = UNKNOWN
  /** Bytes of data the device reads, and writes. */
  outBytes = 0
  inBytes = 0
  /** Set by task management: the response it ends with, whatever becomes of it. */
  endAs: number | undefined
  /** Called once, when it has ended. */
  readonly whenEnded: (() => void)[] = []

  private senseSize = 0
  private readSkip = 0
  private writeSkip = 0

  /** Reads what is in front of the data, each byte once. Why the device has to ask for a reset, where there is no room. */
  parse(sizes: ScsiSizes): string | undefined {
    const { chain } = this
    this.readSkip = VIRTIO_SCSI_REQUEST_BYTES + sizes.cdb
    this.writeSkip = VIRTIO_SCSI_RESPONSE_BYTES + sizes.sense
    this.senseSize = sizes.sense
    if (chain.readableBytes < this.readSkip) return `SCSI request of ${chain.readableBytes} bytes`
    if (chain.writableBytes < this.writeSkip) return `SCSI response of ${chain.writableBytes} bytes`
    // A command block that is longer than any command here ends in bytes that mean nothing.
    const bytes = new Uint8Array(VIRTIO_SCSI_REQUEST_BYTES + Math.max(sizes.cdb, SCSI_CDB_BYTES))
    chain.gather(0, bytes.subarray(0, this.readSkip))
    this.address = decodeScsiAddress(bytes, 0)
    this.tag = decodeScsiTag(new DataView(bytes.buffer), 8)
    this.command = decodeCommand(bytes.subarray(VIRTIO_SCSI_REQUEST_BYTES))
    this.outBytes = chain.readableBytes - this.readSkip
    this.inBytes = chain.writableBytes - this.writeSkip
    return undefined
  }

  /** The first `bytes` of the data for the device, as the guest's own memory. */
  dataOut(bytes: number): Bytes {
    return this.chain.readable(this.readSkip, bytes)
  }

  /** A copy of them, each read once. */
  copyOut(bytes: number): Uint8Array {
    const copy = new Uint8Array(bytes)
    this.chain.gather(this.readSkip, copy)
    return copy
  }

  /** The first `bytes` of the buffer for the guest, as its own memory. */
  dataIn(bytes: number): Bytes {
    return this.chain.writable(bytes, this.writeSkip)
  }

  /** Ends with what the command came to. */
  end(result: ScsiResult): void {
    const { sense } = result
    const status = sense === undefined ? SCSI_GOOD : SCSI_CHECK_CONDITION
    this.respond(VIRTIO_SCSI_S_OK, status, sense === undefined ? undefined : encodeFixedSense(sense), result.moved)
  }

  /** Ends without having been a command to anybody. */
  endAsResponse(response: number): void {
    this.respond(response, SCSI_GOOD, undefined, 0)
  }

  private respond(response: number, status: number, sense: Uint8Array | undefined, moved: number): void {
    if (this.live) {
      const senseLength = Math.min(sense?.length ?? 0, this.senseSize)
      const residual = this.outBytes + this.inBytes - moved
      const head = this.chain.writable(this.writeSkip)
      copyBytes(head, encodeScsiResponse({ senseLength, residual, status, response }))
      zeroBytes(head, VIRTIO_SCSI_RESPONSE_BYTES)
      if (sense !== undefined) copyBytes(head, sense.subarray(0, senseLength), VIRTIO_SCSI_RESPONSE_BYTES)
      // Data that did not arrive is not in the used length: it counts a prefix of what was written (virtio 1.2, 2.7.8.2).
      this.giveBack(this.writeSkip + (this.inBytes > 0 ? moved : 0))
    } else this.giveBack(0)
    for (const told of this.whenEnded.splice(0)) told()
  }
}
