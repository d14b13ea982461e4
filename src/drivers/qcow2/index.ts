// qcow2: images with snapshots, backing files, compression and encryption, by the specification of that name. This file says
// what the driver offers; each offer stands in a file of its own.

import type { Bytes } from '../../common/io-vector.js'
import {
  BDRV_REQ_MAY_UNMAP,
  BDRV_REQ_NO_FALLBACK,
  BDRV_REQ_WRITE_UNCHANGED,
  BDRV_REQ_ZERO_WRITE,
} from '../../common/request.js'
import { defineDriver } from '../../global-state/driver.js'
import type { Completion, NodeIo } from '../../io/node-io.js'
import { loadBitmaps, markBitmapsInUse, refuseUnstorable, removeStoredBitmap, storeBitmaps } from './bitmaps/bitmaps.js'
import { checkImage } from './check/repair.js'
import { copyFromGuest, copyToGuest } from './data/copy.js'
import { readGuest } from './data/read.js'
import { statusOf } from './data/status.js'
import { vmstateIo, vmstateOffset } from './data/vmstate.js'
import { writeGuest } from './data/write.js'
import { writeCompressed } from './data/write-compressed.js'
import { discardGuest, zeroGuest } from './data/zero.js'
import { CRYPT_NONE, looksLikeQcow2 } from './format/header.js'
import { guest } from './format/layout.js'
import { handOver, takeBack } from './hand-over.js'
import { amendQcow2, QCOW2_AMEND_OPTIONS } from './image/amend.js'
import { changeBackingFile, namedBacking } from './image/backing-name.js'
import { createQcow2 } from './image/create.js'
import { QCOW2_CREATE_OPTIONS } from './image/create-options.js'
import { makeEmpty } from './image/make-empty.js'
import { measureQcow2 } from './image/measure.js'
import { truncateImage } from './image/resize.js'
import { specificInfo } from './image/specific-info.js'
import { stopCleaning } from './metadata/caches.js'
import { reach } from './metadata/debug-points.js'
import { flushMetadata, settleImage } from './metadata/flush.js'
import { isDirty } from './metadata/header-update.js'
import { openImage } from './open.js'
import { QCOW2_OPTIONS } from './options.js'
import { prepareReopen } from './reopen.js'
import { applySnapshot, loadSnapshot } from './snapshots/snapshot-apply.js'
import { createSnapshot, deleteSnapshot, listSnapshots, refuseDataFile } from './snapshots/snapshots.js'
import { backingOf, hasDataFile, type Qcow2State } from './state.js'

/** Images in the format qcow2, versions 2 and 3. */
export const qcow2Driver = defineDriver({
  name: 'qcow2',
  kind: 'format',
  supportsBacking: true,
  compresses: true,
  options: QCOW2_OPTIONS,
  mutableOptions: Object.keys(QCOW2_OPTIONS),
  childNames: ['file', 'backing', 'data-file'],
  probe: (header) => (looksLikeQcow2(header) ? 100 : 0),
  async open(context, options) {
    const state = await openImage(context, options)
    const { layout } = state
    return {
      io: qcow2Io(state),
      state,
      writeFlags: BDRV_REQ_WRITE_UNCHANGED,
      // Zeroing is a matter of tables alone, but in version 2, which cannot always do it.
      zeroFlags: BDRV_REQ_MAY_UNMAP | BDRV_REQ_WRITE_UNCHANGED | (state.header.version < 3 ? 0 : BDRV_REQ_NO_FALLBACK),
      truncateFlags: BDRV_REQ_ZERO_WRITE,
      limits: {
        requestAlignment: state.cipher?.sectorSize ?? 1,
        writeZeroesAlignment: layout.subclusterSize,
        discardAlignment: layout.clusterSize,
      },
    }
  },
  async close(state) {
    stopCleaning(state)
    await settleImage(state)
  },
  reopen: prepareReopen,
  inactivate: handOver,
  activate: takeBack,
  snapshots: {
    refuse: refuseDataFile,
    list: listSnapshots,
    create: createSnapshot,
    apply: applySnapshot,
    delete: deleteSnapshot,
    load: loadSnapshot,
  },
  bitmaps: {
    supported: (state) => state.header.version >= 3,
    load: loadBitmaps,
    markInUse: markBitmapsInUse,
    store: storeBitmaps,
    refuseUnstorable,
    remove: removeStoredBitmap,
  },
  // Clusters allocated ahead hold zeroes, which an encrypted image does not read as such.
  hasZeroInit: (state) => backingOf(state) === undefined && (state.cipher === undefined || state.l1.isZero(0)),
  changeBackingFile,
  makeEmpty,
  createOptions: QCOW2_CREATE_OPTIONS,
  create: createQcow2,
  measure: measureQcow2,
  amendOptions: QCOW2_AMEND_OPTIONS,
  amend: amendQcow2,
})

function flushReached(state: Qcow2State): Completion {
  const held = reach(state, 'flush_to_os')
  return held === undefined ? flushMetadata(state) : held.then(() => flushMetadata(state))
}

function qcow2Io(state: Qcow2State): NodeIo {
  const { layout } = state
  return {
    length: () => state.header.size,
    read: (offset, into) => readGuest(state, guest(offset), into),
    write: (offset, data) => writeGuest(state, guest(offset), data),
    // Compressed clusters are never encrypted: an image is one or the other.
    ...(state.cipher === undefined
      ? { writeCompressed: (offset: number, data: Bytes) => writeCompressed(state, guest(offset), data) }
      : {}),
    writeZeroes: (offset, bytes, flags) => zeroGuest(state, guest(offset), bytes, flags),
    discard: (offset, bytes) => discardGuest(state, guest(offset), bytes),
    truncate: (length, options) => truncateImage(state, length, options),
    copyRangeFrom: (offset, target, targetOffset, bytes, flags) =>
      copyFromGuest(state, guest(offset), target, targetOffset, bytes, flags),
    copyRangeTo: (source, sourceOffset, offset, bytes, flags) =>
      copyToGuest(state, source, sourceOffset, guest(offset), bytes, flags),
    flushToOs: () => flushReached(state),
    blockStatus: (offset, bytes) => statusOf(state, guest(offset), bytes),
    check: (fix, report) => checkImage(state, fix, report),
    ...(hasDataFile(state) ? {} : { vmstate: vmstateIo(state) }),
    info: () => ({
      clusterSize: layout.clusterSize,
      vmStateOffset: vmstateOffset(state),
      isDirty: isDirty(state),
      needsCompressedWrites: false,
      isEncrypted: state.header.cryptMethod !== CRYPT_NONE,
      backing: namedBacking(state),
    }),
    specificInfo: () => specificInfo(state),
  }
}
