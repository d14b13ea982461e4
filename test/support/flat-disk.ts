// A root over a node whose driver is a flat buffer. It answers at once, or when the test says so, and keeps what was asked.

import type { Clock } from '../../src/common/clock.js'
import type { BlockError } from '../../src/common/error.js'
import { type Bytes, concatBytes, copyBytes } from '../../src/common/io-vector.js'
import { defaultLimits } from '../../src/common/limits.js'
import { BLK_PERM_ALL, BLK_PERM_CONSISTENT_READ, BLK_PERM_WRITE } from '../../src/common/permissions.js'
import { BDRV_REQ_FUA, BDRV_REQ_MAY_UNMAP } from '../../src/common/request.js'
import type { ErrorPolicy } from '../../src/io/backend/error-policy.js'
import { BackendRoot } from '../../src/io/backend/root.js'
import type { BlockChild, BlockDriverState } from '../../src/io/block-node.js'
import { createEnvironment } from '../../src/io/environment.js'
import type { Completion, NodeIo } from '../../src/io/node-io.js'
import { createRequestState } from '../../src/io/request-state.js'

/** What was asked of the driver. */
export interface DiskCall {
  kind: 'read' | 'write' | 'write-zeroes' | 'discard' | 'flush'
  offset: number
  bytes: number
  flags: number
  buffers: Bytes | undefined
}

export interface FlatDiskOptions {
  writable?: boolean
  onError?: ErrorPolicy
  writeCache?: boolean
}

export class FlatDisk {
  data: Uint8Array
  readonly root: BackendRoot
  readonly node: BlockDriverState
  calls: DiskCall[] = []
  record = true
  /** Set: requests wait for the test. */
  held: { call: DiskCall; settle(error?: unknown): void }[] | undefined
  /** Thrown where it returns something. */
  fault: ((call: DiskCall) => BlockError | undefined) | undefined
  onCall: ((call: DiskCall) => void) | undefined

  constructor(bytes: number, clock: Clock, options: FlatDiskOptions = {}) {
    this.data = new Uint8Array(bytes)
    const environment = createEnvironment({ clock })
    const writable = options.writable ?? true
    const policy = options.onError ?? 'report'
    this.root = new BackendRoot({
      name: 'disk',
      environment,
      onReadError: policy,
      onWriteError: policy,
      writeCache: options.writeCache ?? true,
    })
    const node = {
      nodeName: 'flat',
      driver: { name: 'flat', kind: 'protocol', supportsBacking: false },
      io: this.io(),
      openFlags: writable ? 2 | 0x4000 : 0x4000,
      detectZeroes: 'off',
      readOnly: !writable,
      inactive: false,
      closed: false,
      children: [],
      parents: new Set<BlockChild>(),
      file: undefined,
      backing: undefined,
    }
    this.node = node as unknown as BlockDriverState
    const state = createRequestState(environment, this.node, defaultLimits())
    state.length = bytes
    state.writeFlags = BDRV_REQ_FUA
    state.zeroFlags = BDRV_REQ_FUA | BDRV_REQ_MAY_UNMAP
    Object.assign(this.node, { state })
    const edge: BlockChild = {
      name: 'root',
      role: 0,
      node: this.node,
      perm: BLK_PERM_CONSISTENT_READ | (writable ? BLK_PERM_WRITE : 0),
      shared: BLK_PERM_ALL,
      parent: this.root,
      quiesced: false,
      frozen: false,
    } as unknown as BlockChild
    node.parents.add(edge)
    this.root.edge = edge
  }

  private io(): NodeIo {
    return {
      length: () => this.data.byteLength,
      read: (offset, into, flags) => this.run({ kind: 'read', offset, bytes: into.byteLength, flags, buffers: into }),
      write: (offset, data, flags) => this.run({ kind: 'write', offset, bytes: data.byteLength, flags, buffers: data }),
      writeZeroes: (offset, bytes, flags) =>
        this.run({ kind: 'write-zeroes', offset, bytes, flags, buffers: undefined }),
      discard: (offset, bytes) => this.run({ kind: 'discard', offset, bytes, flags: 0, buffers: undefined }),
      flush: () => this.run({ kind: 'flush', offset: 0, bytes: 0, flags: 0, buffers: undefined }),
    }
  }

  private run(call: DiskCall): Completion {
    this.onCall?.(call)
    if (this.record) this.calls.push(call)
    if (this.held !== undefined) {
      return new Promise<void>((resolve, reject) => {
        this.held?.push({
          call,
          settle: (error) => {
            if (error !== undefined) return reject(error)
            this.perform(call)
            resolve()
          },
        })
      })
    }
    const fault = this.fault?.(call)
    if (fault !== undefined) throw fault
    this.perform(call)
  }

  private perform(call: DiskCall): void {
    const { offset, bytes } = call
    if (call.kind === 'read' && call.buffers) copyBytes(call.buffers, this.data.subarray(offset, offset + bytes))
    else if (call.kind === 'write' && call.buffers) copyBytes(this.data, concatBytes([call.buffers]), offset)
    else if (call.kind === 'write-zeroes' || call.kind === 'discard') this.data.fill(0, offset, offset + bytes)
  }
}
