// blockgraph/testing: what users and this project's own tests use to test drivers, graphs and emulators. Published.
// fast-check is an optional peer of the package; this entry needs it.

export { describeDriver } from './conformance/describe-driver.js'
export { type RandomOperation, randomOperations } from './conformance/random-operations.js'
export type { DriverFixture, DriverSupports, FixtureFactory, SuiteApi } from './conformance/suite.js'
export { type OverlayState, overlayDriver } from './overlay-driver.js'
export { type ControlledRequest, Controller, controlledDriver, type Schedule } from './storage/controlled.js'
export { Fault, type FaultOp, FaultPlan, type FaultRule, faultDriver } from './storage/faults.js'
export { ChunkStore, contentOf, storageDriver, storageOf } from './storage/memory-storage.js'
export { applyEntry, type RecordEntry, Recording, recordingDriver } from './storage/recording.js'
export { GuestBlkDriver, type GuestBlkDriverOptions, type GuestCompletion } from './virtio/guest-blk-driver.js'
export { GuestDisk, type GuestDiskOptions } from './virtio/guest-disk.js'
export { GuestVirtqueue, planQueue, type QueuePlan } from './virtio/guest-virtqueue.js'
export { settleMicrotasks, VirtualClock } from './virtual-clock.js'
