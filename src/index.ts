/// <reference lib="esnext.disposable" preserve="true" />
// blockgraph: the universal surface. Nothing behind it needs Node.

// Vocabulary
export { AssertionFailure } from './common/assert.js'
export * from './common/block-info.js'
export * from './common/block-status.js'
export * from './common/child-role.js'
export { type Clock, hostClock, type Timer } from './common/clock.js'
export type { AsyncContext, ContextTracker } from './common/context-tracker.js'
export { type ErrnoName, errnoMessage, errnoName, errnoNumber } from './common/errno.js'
export { BlockError, type BlockErrorDetails } from './common/error.js'
export * from './common/filename.js'
export { type ByteRange, HBitmap } from './common/hbitmap.js'
export type * from './common/host-services.js'
export * from './common/io-vector.js'
export * from './common/limits.js'
export * from './common/op-types.js'
export * from './common/open-flags.js'
export * from './common/option-names.js'
export * from './common/permissions.js'
export * from './common/request.js'
export type { GraphEventName, GraphEvents, RequestReport, Trace, TraceSink } from './common/trace.js'
export { GiB, KiB, MiB, type Offset, PiB, TiB } from './common/units.js'
export type { BlkGeometry, BlkPresentation } from './devices/virtio/blk/blk-setup.js'
// Drivers, devices, and the short way
export { VirtioBlkDevice, type VirtioBlkOptions } from './devices/virtio/blk/virtio-blk.js'
export type { SavedChain, SavedQueue, VirtioDeviceState } from './devices/virtio/core/device-state.js'
export { VIRTIO_INTERRUPT_CONFIG, VIRTIO_INTERRUPT_USED } from './devices/virtio/core/interrupt-source.js'
export { type GuestNotifier, type HostNotifier, VIRTIO_MSI_NO_VECTOR } from './devices/virtio/core/notifiers.js'
export type { RingOffer } from './devices/virtio/core/ring-features.js'
export type { VirtioTransport } from './devices/virtio/core/transport.js'
export { VirtioDevice, type VirtioDeviceOptions } from './devices/virtio/core/virtio-device.js'
export { createDriverQueue } from './devices/virtio/driver-queue/create-driver-queue.js'
export type { DriverQueue } from './devices/virtio/driver-queue/driver-queue.js'
export { planQueue, type QueuePlan, type QueuePlanOptions } from './devices/virtio/driver-queue/queue-plan.js'
export { DescriptorChain } from './devices/virtio/memory/descriptor-chain.js'
export { GuestMemory, type GuestRegion, type GuestRegionOptions } from './devices/virtio/memory/guest-memory.js'
export { createDeviceQueue, type QueueFeatures, type QueueOptions } from './devices/virtio/queue/create-queue.js'
export {
  type DeviceQueue,
  FETCH_CHAIN,
  FETCH_EMPTY,
  FETCH_FAULT,
  type FetchResult,
  NO_HEAD,
  type QueueBytes,
  type QueueState,
} from './devices/virtio/queue/device-queue.js'
export type { InflightTracker } from './devices/virtio/queue/inflight-tracker.js'
export type { GuestAddress, QueueConfig } from './devices/virtio/queue/queue-layout.js'
export type { EarlierList } from './devices/virtio/queue/taken-heads.js'
export { VirtioRngDevice, type VirtioRngOptions } from './devices/virtio/rng/virtio-rng.js'
export type { ScsiDiskOptions } from './devices/virtio/scsi/scsi-unit.js'
export { VirtioScsiDevice, type VirtioScsiOptions } from './devices/virtio/scsi/virtio-scsi.js'
export { SharedRingDevice } from './devices/virtio/shared-ring/ring-device.js'
export { SharedRingDriver } from './devices/virtio/shared-ring/ring-driver.js'
export { createSharedRing, type SharedRing, type SharedRingOptions } from './devices/virtio/shared-ring/shared-ring.js'
export { Disk, type DiskCall, type DiskParts, type Extent } from './disk/disk.js'
export { type DiskTarget, type OpenDiskOptions, openDiskWith } from './disk/open-disk.js'
export { readableStream, type StreamRange, writableStream } from './disk/web-streams.js'
export * from './drivers/index.js'
export { type AmendSettings, amendImage } from './global-state/amend-image.js'
export { BlockBackend, type CreateBackendOptions, createBackend } from './global-state/backend.js'
export {
  chainContains,
  chainDepth,
  chainOf,
  findBackingImage,
  findBase,
  findOverlay,
  freezeBackingChain,
  refuseFrozenChain,
  unfreezeBackingChain,
} from './global-state/backing-chain.js'
export * from './global-state/bitmaps/bitmap-content.js'
export * from './global-state/bitmaps/bitmap-successor.js'
export { type BitmapAction, type BitmapName, runBitmapTransaction } from './global-state/bitmaps/bitmap-transaction.js'
export {
  BDRV_BITMAP_ALLOW_RO,
  BDRV_BITMAP_BUSY,
  BDRV_BITMAP_DEFAULT,
  BDRV_BITMAP_INCONSISTENT,
  BDRV_BITMAP_RO,
  checkDirtyBitmap,
  createDirtyBitmap,
  type DirtyBitmapOptions,
  defaultBitmapGranularity,
  dirtyBitmaps,
  disableDirtyBitmap,
  enableDirtyBitmap,
  findDirtyBitmap,
  releaseDirtyBitmap,
  releaseNamedDirtyBitmaps,
  removeDirtyBitmap,
  setBitmapBusy,
  setBitmapInconsistent,
  setBitmapPersistence,
  setBitmapReadonly,
  setBitmapSkipStore,
} from './global-state/bitmaps/bitmaps.js'
export { checkImage } from './global-state/check-image.js'
export { isSuspended, removeBreakpoint, resumeBreakpoint, setBreakpoint } from './global-state/debug.js'
export * from './global-state/describe-graph.js'
export { DrainAllSection, drainAll } from './global-state/drain-all.js'
export * from './global-state/driver.js'
export { defaultChildPermissions } from './global-state/edit/default-permissions.js'
export {
  addChild,
  appendNode,
  delChild,
  dropFilter,
  insertNode,
  replaceChild,
  replaceNode,
  setBacking,
} from './global-state/edit/graph-edit.js'
export { cumulative as cumulativePermissions } from './global-state/edit/permission-update.js'
export { BlockGraph, type BlockGraphOptions } from './global-state/graph.js'
export { graphToDot, graphToMermaid } from './global-state/graph-picture.js'
export { changeBackingFile, hasZeroInit, makeEmpty, probeBlocksizes } from './global-state/image.js'
// The graph
export { activate, activateAll, inactivateAll } from './global-state/life/activation.js'
export { closeNode, dropHold } from './global-state/life/close.js'
export { type CreateImageRequest, createImage } from './global-state/life/create-image.js'
export { type MeasureImageRequest, measureImage } from './global-state/life/measure-image.js'
export { openNode } from './global-state/life/open.js'
export type { OpenSettings } from './global-state/life/open-request.js'
export { type ReopenRequest, reopenNodes, reopenReadOnly } from './global-state/life/reopen.js'
export { backendOf, deviceOrNodeName, findNode, lookupNode, rootNodes } from './global-state/lookup.js'
export type { MainLoop } from './global-state/main-loop.js'
export { type FoundName, type NamePolicy, plainNamesPolicy, sameFolderPolicy } from './global-state/name-policy.js'
export { nodeDirname, nodeFilename } from './global-state/node-filename.js'
export type { BlockReason, EdgeState, NodeState } from './global-state/node-state.js'
export * from './global-state/op-blockers.js'
export * from './global-state/options/option-schema.js'
export * from './global-state/options/option-text.js'
export * from './global-state/options/options.js'
export { canReplace, nodeToReplace } from './global-state/replaceable.js'
export { SecretStore } from './global-state/secrets.js'
export * from './global-state/snapshot.js'
export { stateOf } from './global-state/state-of.js'
export { setWriteThreshold, writeThreshold } from './global-state/write-threshold.js'
// I/O from a root
export type { Accounting, LatencyHistogram, OperationCounts } from './io/backend/accounting.js'
export { type BackendStatus, type ErrorAction, type ErrorPolicy, resetStatus } from './io/backend/error-policy.js'
export type { RequestOptions } from './io/backend/perform.js'
export {
  BackendRoot,
  type BackendRootOptions,
  measureLatency,
  type RootClient,
  resumeParked,
  setHoldWhileDrained,
  wakeDrain,
} from './io/backend/root.js'
export { submitDiscard, submitFlush, submitRead, submitWrite, submitWriteZeroes } from './io/backend/submit.js'
// I/O on edges
export { background } from './io/background.js'
export * from './io/block-node.js'
export {
  type BlockStatus,
  blockStatus,
  blockStatusAbove,
  isAllocated,
  isAllocatedAbove,
  isZeroFast,
} from './io/block-status.js'
export { copyRange } from './io/copy-range.js'
export { debugEvent } from './io/debug-event.js'
export { type DirtyBitmap, dirtyAreas, dirtyBytes, isDirty } from './io/dirty-bitmap.js'
export { discard } from './io/discard.js'
export { DrainedSection, type DrainOptions, drained, drainedNodes, withDrained } from './io/drained.js'
export { flush, flushNode } from './io/flush.js'
export { disableCopyOnRead, enableCopyOnRead } from './io/gates.js'
export { makeZero } from './io/make-zero.js'
export * from './io/node-info.js'
export type * from './io/node-io.js'
export { read } from './io/read.js'
export { settleAll } from './io/settle-all.js'
export { refreshLength, truncate } from './io/truncate.js'
export { loadVmstate, saveVmstate } from './io/vmstate.js'
export { write } from './io/write.js'
export { writeZeroes } from './io/write-zeroes.js'
// Jobs
export { type CommitOptions, commitImage } from './jobs/commit-image.js'
export { type NewBacking, type RebaseOptions, rebaseImage } from './jobs/rebase-image.js'
